#!/usr/bin/env bash
# Proves with curl that HTTP/1.1 and HTTP/2 work: a large upload and download, trailers, HEAD, 404, many transfers at once, cookies;
# and with nghttp and h2load, where they are installed, that a load of small requests over few h2 connections loses nothing.
#
#     ./client_curl.sh --base https://localhost:8443 --ca ca.pem
#     ./client_curl.sh --base http://localhost:8080               # h2 by prior knowledge
#
# Behind the base there are replicas of replica.py. Needs curl with HTTP/2, sha256sum; Debian has nghttp and h2load in nghttp2-client.
set -u

base="" ca=""
while [ $# -gt 0 ]; do
  case $1 in
    --base) base=${2%/} ;;
    --ca) ca=$2 ;;
    *) echo "unknown argument $1" >&2; exit 2 ;;
  esac
  shift 2
done
[ -n "$base" ] || { echo "--base is missing" >&2; exit 2; }

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
failed=0
curl=(curl --silent --show-error --max-time 120 ${ca:+--cacert "$ca"})

# check NAME GOT WANTED
check() {
  if [ "$2" = "$3" ]; then
    echo "ok $1"
  else
    failed=1
    echo "FAILED $1: $(printf %.300s "$2" | tr '\n' ' ') instead of $(printf %.100s "$3" | tr '\n' ' ')"
  fi
}

sum() { sha256sum | cut -d ' ' -f 1; }

# one VERSION_FLAG VERSION: all checks with one version of HTTP
one() {
  local flag=$1 version=$2 trailer
  local c=("${curl[@]}" "$flag")

  check "$flag version" "$("${c[@]}" -o "$dir/out" -w '%{http_code} %{http_version}' "$base/whoami" 2>&1)" "200 $version"

  check "$flag upload of 100 MiB" "$("${c[@]}" -X POST -T "$dir/100M" "$base/digest" 2>&1)" "$(sum < "$dir/100M")"
  check "$flag upload of unknown length" "$("${c[@]}" -X POST -T - "$base/digest" 2>&1 < "$dir/1M")" "$(sum < "$dir/1M")"
  check "$flag download of 100 MiB" "$("${c[@]}" "$base/bytes?n=104857600" 2>&1 | sum)" "$bytes_sum"

  # Without `expect`: some versions of curl send no body when 100 and the head of the answer arrive together.
  rm -f "$dir/out" "$dir/head"
  "${c[@]}" -X POST -T "$dir/1M" -H 'expect:' -H 'te: trailers' -D "$dir/head" -o "$dir/out" "$base/echo" 2> "$dir/err"
  check "$flag echo" "$(sum < "$dir/out")" "$(sum < "$dir/1M")"
  trailer=$(tr -d '\r' < "$dir/head" | sed -n 's/^x-sha256: //Ip')
  check "$flag trailer" "$trailer" "$(sum < "$dir/1M")"

  "${c[@]}" --head "$base/bytes?n=12345" > "$dir/head" 2>&1
  check "$flag HEAD" "$(tr -d '\r' < "$dir/head" | sed -n 's/^content-length: //Ip')" 12345
  check "$flag 404" "$("${c[@]}" -w ' %{http_code}' "$base/nothing-here" 2>&1)" "not found 404"
  check "$flag upload that is answered early" \
    "$("${c[@]}" -X POST -T "$dir/1M" -o "$dir/out" -w '%{http_code}' "$base/nothing-here" 2>&1)" 404
  check "$flag cookies" "$("${c[@]}" -b 'a=1; b=2' "$base/headers" 2>&1 | grep -o '"cookie", "[^"]*"')" '"cookie", "a=1; b=2"'

  # 50 transfers at once: over h2 on one connection, as streams
  for i in $(seq 50); do
    printf 'url = "%s/bytes?n=%d"\noutput = "%s/p%d"\n' "$base" $((i * 10000)) "$dir" "$i"
  done > "$dir/config"
  "${c[@]}" --parallel --parallel-max 50 --parallel-immediate --config "$dir/config" 2> "$dir/err"
  check "$flag 50 at once" "$? $(for i in $(seq 50); do stat -c %s "$dir/p$i"; done 2>&1 | sum)" "0 $sizes_sum"
  rm -f "$dir"/p*
}

nghttp2_tools() {
  if ! { command -v nghttp && command -v h2load; } > /dev/null; then
    echo "skipped nghttp and h2load: not installed"
    return
  fi
  nghttp --verbose --no-verify-peer -H 'te: trailers' -H ':method: POST' -d "$dir/small" "$base/echo" > "$dir/out" 2>&1
  check "nghttp status" "$(grep -c ':status: 200' "$dir/out")" 1
  check "nghttp trailer" "$(sed -n 's/.*x-sha256: \([0-9a-f]*\).*/\1/p' "$dir/out")" "$(sum < "$dir/small")"

  h2load -n 2000 -c 4 -m 100 "$base/whoami" > "$dir/out" 2>&1
  check "h2load 2000 GET" "$(grep '^requests:' "$dir/out")" "$all_succeeded"
  h2load -n 2000 -c 4 -m 100 -d "$dir/small" "$base/digest" > "$dir/out" 2>&1
  check "h2load 2000 POST" "$(grep '^requests:' "$dir/out")" "$all_succeeded"
}

all_succeeded="requests: 2000 total, 2000 started, 2000 done, 2000 succeeded, 0 failed, 0 errored, 0 timeout"
head -c $((100 << 20)) /dev/urandom > "$dir/100M"
head -c $((1 << 20)) /dev/urandom > "$dir/1M"
head -c 3000 /dev/urandom | base64 > "$dir/small"
sizes_sum=$(for i in $(seq 50); do echo $((i * 10000)); done | sum)
bytes_sum=$(awk 'BEGIN { for (i = 0; i < 251; i++) printf "%02x", i }' | tr a-f A-F | basenc --decode --base16 > "$dir/251"
  for _ in $(seq 256); do cat "$dir/251"; done > "$dir/block"
  for _ in $(seq 1632); do cat "$dir/block"; done | head -c 104857600 | sum)

one --http1.1 1.1
case $base in
  https:*)
    one --http2 2
    ;;
  http:*)
    one --http2-prior-knowledge 2
    # the upgrade to h2c is obsolete (RFC 9113): whoever does not take part goes on in HTTP/1.1
    check "--http2 over plain http" "$("${curl[@]}" --http2 -o "$dir/out" -w '%{http_code}' "$base/whoami" 2>&1)" 200
    ;;
esac
nghttp2_tools
exit $failed
