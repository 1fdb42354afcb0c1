#!/bin/sh
# Makes an authority and one certificate for each host, for etcd and its clients: certificates.sh NAME=ADDRESS …
set -eu
umask 077
[ $# -gt 0 ] || { echo "usage: $0 NAME=ADDRESS …, as a=192.0.2.1 b=192.0.2.2 c=192.0.2.3" >&2; exit 2; }
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -subj /CN=coord-etcd \
    -keyout ca.key -out ca.pem 2>/dev/null
for host in "$@"; do
    name=${host%%=*} address=${host#*=}
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$name" \
        -keyout "$name.key" -out "$name.csr" 2>/dev/null
    printf 'subjectAltName=DNS:%s,DNS:localhost,IP:%s,IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n' \
        "$name" "$address" > "$name.ext"
    openssl x509 -req -in "$name.csr" -CA ca.pem -CAkey ca.key -CAcreateserial -days 825 -extfile "$name.ext" \
        -out "$name.pem" 2>/dev/null
    rm "$name.csr" "$name.ext"
    echo "$name: copy ca.pem, $name.pem and $name.key to it; ca.key stays here"
done
