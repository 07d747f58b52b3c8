#!/bin/sh
# Shows the main job: an app that cannot start, and its fallback that answers in its place.
set -eu
address=${1:-127.0.0.1:8080}
cat <<EOF

  shop.py imports a package that is not installed, so it cannot start:

      arun shop.py --bind $address --fallback-config safe.ini

  Look at http://$address in a browser: arun has become the instance of safe.ini, same pid, same socket.
  Then: put your own app in the place of shop.py, or stop with CTRL+C.

EOF
exec arun shop.py --bind "$address" --fallback-config safe.ini
