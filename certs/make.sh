#!/bin/sh
# Development certificates: a CA, a server certificate, client certificates. Never for production, never committed.
#
#   certs/make.sh [FOLDER] [CLIENT...]      default: certs/out, clients "app" and "pgshunt"
#
# Makes, and makes anew each time:
#   ca.crt ca.key             the CA
#   server.crt server.key     for localhost, 127.0.0.1, ::1 and this machine's name; good for pgshunt and for PostgreSQL
#   CLIENT.crt CLIENT.key     one for each client, its common name is the role's
# Keys are readable by their owner alone. NAMES adds names to the server's: NAMES=DNS:db1,IP:10.0.0.1 certs/make.sh
set -eu

folder=${1:-$(dirname "$0")/out}
[ $# -eq 0 ] || shift
[ $# -gt 0 ] || set -- app pgshunt
days=${DAYS:-90}
umask 077
mkdir -p "$folder"
cd "$folder"

new="openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"

sign() { # NAME EXTENSIONS
    $new -keyout "$1.key" -out "$1.csr" -subj "/O=pgshunt development/CN=$1" 2>openssl.log ||
        { cat openssl.log >&2; exit 1; }
    printf '%s\n' "basicConstraints=critical,CA:FALSE" "keyUsage=critical,digitalSignature" "$2" >extensions
    openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -days "$days" -sha256 \
        -extfile extensions -out "$1.crt" 2>openssl.log || { cat openssl.log >&2; exit 1; }
    rm "$1.csr" extensions
}

$new -x509 -days "$days" -sha256 -keyout ca.key -out ca.crt -subj "/O=pgshunt development/CN=development CA" \
    -addext "basicConstraints=critical,CA:TRUE,pathlen:0" -addext "keyUsage=critical,keyCertSign,cRLSign" \
    2>openssl.log || { cat openssl.log >&2; exit 1; }

sign server "subjectAltName=DNS:localhost,DNS:$(uname -n),IP:127.0.0.1,IP:::1${NAMES:+,$NAMES}
extendedKeyUsage=serverAuth"
for client in "$@"; do
    sign "$client" "extendedKeyUsage=clientAuth"
done
rm -f openssl.log ca.srl
chmod 644 ./*.crt

echo "made in $PWD, good for $days days:"
ls -1 ./*.crt ./*.key
