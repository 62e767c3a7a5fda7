#!/bin/sh
# Makes an image and a registry that has it, with nothing but tar, gzip and sha256sum.
#
#   sh by-hand.sh FOLDER [NAME]
#
# Afterwards FOLDER/v2 is what a registry answers, file by file. Any web server will do:
#
#   busybox httpd -p 127.0.0.1:5000 -h FOLDER
set -e
folder=$1 name=${2:-hello}
blobs=$folder/v2/$name/blobs manifests=$folder/v2/$name/manifests
mkdir -p "$blobs" "$manifests"

# ANCHOR: blob
# Puts a file among the blobs, under the digest of its bytes, and says which that is.
blob() {
    digest=sha256:$(sha256sum <"$1" | cut -d ' ' -f 1)
    cp "$1" "$blobs/$digest"
    echo "$digest"
}
# ANCHOR_END: blob

# ANCHOR: tree
# The root: a static busybox, which is a shell and 300 tools, and one page to serve.
tree=$folder/tree
mkdir -p "$tree/bin" "$tree/srv"
cp "$(command -v busybox)" "$tree/bin/busybox"
for tool in cat httpd ls sh sleep wget; do ln -sf busybox "$tree/bin/$tool"; done
echo "hello from a layer" >"$tree/srv/index.html"
# ANCHOR_END: tree

# ANCHOR: layer
# The layer: the root as a tar, which has one digest, and compressed, which has another.
tar -C "$tree" --owner 0 --group 0 --numeric-owner --sort name --mtime @0 -cf "$folder/layer.tar" .
gzip -nf <"$folder/layer.tar" >"$folder/layer.tar.gz"
diff_id=sha256:$(sha256sum <"$folder/layer.tar" | cut -d ' ' -f 1)
layer=$(blob "$folder/layer.tar.gz")
# ANCHOR_END: layer

# ANCHOR: config
# The config: how to run it, and which layers it stands on, by the digests of their tars.
case $(uname -m) in x86_64) arch=amd64 ;; aarch64) arch=arm64 ;; *) arch=$(uname -m) ;; esac
cat >"$folder/config.json" <<END
{
  "architecture": "$arch", "os": "linux",
  "config": { "Cmd": ["cat", "/srv/index.html"], "Env": ["PATH=/bin"] },
  "rootfs": { "type": "layers", "diff_ids": ["$diff_id"] }
}
END
config=$(blob "$folder/config.json")
# ANCHOR_END: config

# ANCHOR: manifest
# The manifest: the config and the layers, by the digests of what is sent. It has a tag.
cat >"$manifests/latest" <<END
{
  "schemaVersion": 2,
  "mediaType": "application/vnd.oci.image.manifest.v1+json",
  "config": {
    "mediaType": "application/vnd.oci.image.config.v1+json",
    "digest": "$config", "size": $(stat -c %s "$folder/config.json")
  },
  "layers": [{
    "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
    "digest": "$layer", "size": $(stat -c %s "$folder/layer.tar.gz")
  }]
}
END
# ANCHOR_END: manifest
