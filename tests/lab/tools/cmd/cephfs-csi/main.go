// Command cephfs-csi is a small CSI driver for the lab's CephFS: a volume is a
// directory /volumes/<name> with a byte quota, and every node mounts it with a
// ceph-fuse process of its own. The same program serves the controller (with
// -root, a mount of the whole file system) and a node (with -node); on a node
// it also registers itself with the kubelet. With -single-node it is a driver
// that, like a block storage driver, gives a volume to one node only.
package main

import (
	"context"
	"flag"
	"log"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	registration "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

var (
	driverName = flag.String("driver", "cephfs.lab.local", "name of the driver")
	singleNode = flag.Bool("single-node", false, "refuse volumes that more than one node may mount")
	endpoint   = flag.String("endpoint", "", "unix socket to serve CSI on")
	nodeID     = flag.String("node", "", "node name; serves the node side")
	root       = flag.String("root", "", "mount of the whole file system; serves the controller side")
	conf       = flag.String("ceph-conf", "/etc/ceph/ceph.conf", "ceph configuration file")
	register   = flag.String("register", "", "the kubelet's plugins_registry directory")
)

type driver struct {
	csi.UnimplementedIdentityServer
	csi.UnimplementedControllerServer
	csi.UnimplementedNodeServer
	registration.UnimplementedRegistrationServer
}

func main() {
	flag.Parse()
	if *endpoint == "" {
		log.Fatal("-endpoint is missing: name the unix socket to serve on")
	}
	d := &driver{}
	srv := grpc.NewServer(grpc.UnaryInterceptor(logged))
	csi.RegisterIdentityServer(srv, d)
	if *root != "" {
		csi.RegisterControllerServer(srv, d)
	}
	if *nodeID != "" {
		csi.RegisterNodeServer(srv, d)
	}
	if *register != "" {
		reg := grpc.NewServer(grpc.UnaryInterceptor(logged))
		registration.RegisterRegistrationServer(reg, d)
		l := listen(filepath.Join(*register, *driverName+"-reg.sock"))
		go func() { log.Fatal(reg.Serve(l)) }()
	}
	log.Fatal(srv.Serve(listen(*endpoint)))
}

func listen(path string) net.Listener {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		log.Fatal(err)
	}
	_ = os.Remove(path)
	l, err := net.Listen("unix", path)
	if err != nil {
		log.Fatal(err)
	}
	return l
}

func logged(ctx context.Context, req any, info *grpc.UnaryServerInfo, h grpc.UnaryHandler) (any, error) {
	start := time.Now()
	resp, err := h(ctx, req)
	log.Printf("%s %v err=%v", info.FullMethod, time.Since(start).Round(time.Millisecond), err)
	return resp, err
}
