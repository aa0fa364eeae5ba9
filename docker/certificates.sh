#!/bin/sh
# The stack's own certificate authority, and a certificate for each of its services.
#
#     certificates                make what is missing, renew what ends within 30 days (what `up` runs each time)
#     certificates renew          a new certificate for every service; the keys stay
#     certificates client NAME    one for a caller from outside: a tar archive of NAME/{certificate,key,authority}.pem
#
# /authority is the authority's own volume, which no service sees; /tls/<service> is the volume that <service> sees as
# /run/tls. Files belong to root, and their group, the service's user, may read them: nobody else, and nobody may write.
# A certificate is replaced by a rename, so that whoever reads it meanwhile has the old one or the new one.
set -eu
umask 077

authority_days=3650
certificate_days=365
renewal_days=30
vomma=10001     # the user of Vomma's images
postgres=999    # that of PostgreSQL's

new_key() { openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1" 2>/dev/null; }

make_authority() {
    if [ -s /authority/certificate.pem ]; then return; fi
    new_key /authority/key.pem
    openssl req -x509 -new -key /authority/key.pem -sha256 -days "$authority_days" -subj "/CN=Vomma authority" \
        -addext "basicConstraints=critical,CA:TRUE,pathlen:0" -addext "keyUsage=critical,keyCertSign,cRLSign" \
        -out /authority/certificate.new
    mv /authority/certificate.new /authority/certificate.pem
    echo "authority made" >&2
}

# issue FOLDER NAME USES: a certificate that says NAME, for the key of FOLDER, which is made where there is none. A
# server's is also good for this machine's own names: ports are published on its loopback.
issue() {
    [ -s "$1/key.pem" ] || { new_key "$1/key.new"; hand_over "$1/key.new"; mv "$1/key.new" "$1/key.pem"; }
    names="DNS:$2"
    case "$3" in *serverAuth*) names="$names,DNS:localhost,IP:127.0.0.1,IP:::1" ;; esac
    printf '%s\n' "basicConstraints=critical,CA:FALSE" "keyUsage=critical,digitalSignature" "extendedKeyUsage=$3" \
        "subjectAltName=$names" "authorityKeyIdentifier=keyid" >/tmp/extensions
    openssl req -new -key "$1/key.pem" -subj "/CN=$2" -out /tmp/request
    openssl x509 -req -in /tmp/request -CA /authority/certificate.pem -CAkey /authority/key.pem -sha256 \
        -days "$certificate_days" -extfile /tmp/extensions -out "$1/certificate.new" 2>/dev/null
    hand_over "$1/certificate.new"
    mv "$1/certificate.new" "$1/certificate.pem"
}

# What is in place, of our authority, for the key beside it, and good for a while.
is_good() {
    [ -s "$1/key.pem" ] && [ -s "$1/certificate.pem" ] &&
        openssl verify -CAfile /authority/certificate.pem "$1/certificate.pem" >/dev/null 2>&1 &&
        openssl x509 -in "$1/certificate.pem" -noout -checkend $((renewal_days * 86400)) >/dev/null &&
        [ "$(openssl x509 -in "$1/certificate.pem" -noout -pubkey)" = "$(openssl pkey -in "$1/key.pem" -pubout)" ]
}

owner=0
hand_over() { chgrp "$owner" "$1" && chmod 0440 "$1"; }

# service NAME USER USES
service() {
    folder=/tls/$1
    owner=$2
    if ! cmp -s /authority/certificate.pem "$folder/authority.pem"; then
        cp /authority/certificate.pem "$folder/authority.new"
        hand_over "$folder/authority.new"
        mv "$folder/authority.new" "$folder/authority.pem"
    fi
    if [ "$renew" = yes ] || ! is_good "$folder"; then
        issue "$folder" "$1" "$3"
        echo "$1: certificate until $(openssl x509 -in "$folder/certificate.pem" -noout -enddate | cut -d= -f2)" >&2
    fi
}

services() {
    service postgres "$postgres" serverAuth
    # The image of PostgreSQL wants a password for its first role. Nobody ever uses it: docker/postgres/pg_hba.conf.
    if [ ! -s /tls/postgres/password ]; then
        openssl rand -hex 32 >/tls/postgres/password.new
        hand_over /tls/postgres/password.new
        mv /tls/postgres/password.new /tls/postgres/password
    fi
    for name in market-gateway feature-service heston-inverter-service regime-sentiment-service policy-service \
        execution-service trainer; do
        service "$name" "$vomma" serverAuth,clientAuth
    done
    for name in migrate vomma; do service "$name" "$vomma" clientAuth; done
}

# Two at once would make two authorities.
exec 9>/authority/lock
flock 9
make_authority
renew=no
case "${1:-}" in
"") services ;;
renew) renew=yes; services ;;
client)
    name=${2:-}
    case "$name" in
    "" | -* | *[!A-Za-z0-9._-]*) echo "a client's name has letters, digits, dots, hyphens and underscores" >&2; exit 64 ;;
    esac
    # PostgreSQL lets the services in by these names.
    if [ -e "/tls/$name" ]; then echo "$name is a service of the stack: choose another name" >&2; exit 64; fi
    if [ -t 1 ]; then echo "the archive is binary: \`docker compose run --rm -T certificates client $name | tar x\`" >&2; exit 64; fi
    mkdir "/tmp/$name"
    issue "/tmp/$name" "$name" clientAuth
    cp /authority/certificate.pem "/tmp/$name/authority.pem"
    chmod 0600 "/tmp/$name"/*
    tar -C /tmp -c "$name"
    ;;
*) sed -n '2,6p' "$0" >&2; exit 64 ;;
esac
