package main

// The controller side: a volume is a directory with a byte quota.

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	quotaAttr = "ceph.quota.max_bytes"
	minimum   = 1 << 20
)

func (d *driver) ControllerGetCapabilities(context.Context, *csi.ControllerGetCapabilitiesRequest) (*csi.ControllerGetCapabilitiesResponse, error) {
	return &csi.ControllerGetCapabilitiesResponse{Capabilities: []*csi.ControllerServiceCapability{{
		Type: &csi.ControllerServiceCapability_Rpc{Rpc: &csi.ControllerServiceCapability_RPC{Type: csi.ControllerServiceCapability_RPC_CREATE_DELETE_VOLUME}},
	}}}, nil
}

func (d *driver) CreateVolume(_ context.Context, r *csi.CreateVolumeRequest) (*csi.CreateVolumeResponse, error) {
	if err := checkName(r.Name); err != nil {
		return nil, err
	}
	if err := checkCapabilities(r.VolumeCapabilities); err != nil {
		return nil, err
	}
	size := max(r.GetCapacityRange().GetRequiredBytes(), minimum)
	dir := filepath.Join(*root, "volumes", r.Name)
	if have, err := quota(dir); err == nil && have != 0 && have != size {
		return nil, status.Errorf(codes.AlreadyExists, "volume exists with %d bytes", have)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	if err := unix.Setxattr(dir, quotaAttr, []byte(strconv.FormatInt(size, 10)), 0); err != nil {
		return nil, status.Errorf(codes.Internal, "quota: %v", err)
	}
	return &csi.CreateVolumeResponse{Volume: &csi.Volume{VolumeId: r.Name, CapacityBytes: size}}, nil
}

func (d *driver) DeleteVolume(_ context.Context, r *csi.DeleteVolumeRequest) (*csi.DeleteVolumeResponse, error) {
	if err := checkName(r.VolumeId); err != nil {
		return nil, err
	}
	if err := os.RemoveAll(filepath.Join(*root, "volumes", r.VolumeId)); err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	return &csi.DeleteVolumeResponse{}, nil
}

func (d *driver) ValidateVolumeCapabilities(_ context.Context, r *csi.ValidateVolumeCapabilitiesRequest) (*csi.ValidateVolumeCapabilitiesResponse, error) {
	if err := checkCapabilities(r.VolumeCapabilities); err != nil {
		return &csi.ValidateVolumeCapabilitiesResponse{Message: status.Convert(err).Message()}, nil
	}
	return &csi.ValidateVolumeCapabilitiesResponse{Confirmed: &csi.ValidateVolumeCapabilitiesResponse_Confirmed{VolumeCapabilities: r.VolumeCapabilities}}, nil
}

// checkCapabilities refuses what this driver cannot give, in words that a
// person finds in the claim's events.
func checkCapabilities(caps []*csi.VolumeCapability) error {
	for _, c := range caps {
		if c.GetBlock() != nil {
			return status.Errorf(codes.InvalidArgument, "%s has only file system volumes: use volumeMode Filesystem", *driverName)
		}
		if mode := c.GetAccessMode().GetMode(); *singleNode && strings.HasPrefix(mode.String(), "MULTI_NODE") {
			return status.Errorf(codes.InvalidArgument,
				"%s gives a volume to one node only and cannot serve access mode %s: use ReadWriteOnce, or a storage class whose driver shares volumes",
				*driverName, mode)
		}
	}
	return nil
}

func quota(dir string) (int64, error) {
	buf := make([]byte, 32)
	n, err := unix.Getxattr(dir, quotaAttr, buf)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(strings.TrimRight(string(buf[:n]), "\x00"), 10, 64)
}
