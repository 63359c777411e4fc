#!/bin/sh
# install.sh deps|code DEST: everything the project image adds to a plain Python.
# The Containerfile runs it, and so does the lab, which has no image builder: one list of steps, two callers.
# Two parts, because one changes rarely and the other with every commit:
#   deps  DEST/lib        what the hooks import (PYTHONPATH of the image)
#         DEST/connector  what the init container copies beside vLLM: xxhash for every CPython that a vLLM image may
#                         carry (the extension modules' names differ, so they live in one folder)
#   code  our own packages, into the same folders, and DEST/bin/llmd-kv
set -eu
part=$1
dest=$2
src=$(cd "$(dirname "$0")/.." && pwd)
export PIP_ROOT_USER_ACTION=ignore
pip() { python3 -m pip --quiet --disable-pip-version-check --no-input "$@"; }
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

case $part in
deps)
  mkdir -p "$dest/connector"
  pip install --target "$dest/lib" --no-deps --require-hashes --only-binary :all: -r "$src/requirements/image.txt"
  for version in 3.11 3.12 3.13 3.14; do
    pip install --target "$tmp/$version" --no-deps --require-hashes --only-binary :all: \
      --python-version "$version" --platform manylinux2014_x86_64 --no-compile -r "$src/requirements/connector.txt"
    cp -r "$tmp/$version/." "$dest/connector/"
  done
  ;;
code)
  # Built from a copy: the source may be read-only.
  cp -r "$src/core" "$src/hooks" "$src/connector" "$src/evictor" "$tmp/"
  # The evictor reads the connector's files with the connector's own code.
  pip install --target "$tmp/out/lib" --no-deps "$tmp/core" "$tmp/hooks" "$tmp/evictor" "$tmp/connector"
  pip install --target "$tmp/out/connector" --no-deps "$tmp/core" "$tmp/connector"
  mkdir -p "$tmp/out/bin"
  printf '#!/bin/sh\nexec python3 -m llmd_storage_evictor "$@"\n' > "$tmp/out/bin/llmd-kv"
  chmod 755 "$tmp/out/bin/llmd-kv"
  rm -rf "$tmp/out/lib/bin" # their shebangs name the Python that built them
  mkdir -p "$dest"
  cp -r "$tmp/out/." "$dest/"
  ;;
*)
  echo "usage: install.sh deps|code DEST" >&2
  exit 2
  ;;
esac
chmod -R a+rX "$dest"
