#!/bin/sh
# Builds the binary that is packaged, target/dist/unstick: with fat LTO, and by a profile of what a proxy does most (PGO).
#   packaging/build.sh [FLAG OF CARGO]...      for example --no-default-features
# It compiles twice: with counters, to play the requests of benches/train.py, and then with what was counted. For the
# same binary without a profile there is `cargo build --profile dist`. benches/README.md says what the profile gains.
set -eu
cd "$(dirname "$0")/.."
# Flags and files of others would take the place of those below.
unset LLVM_PROFILE_FILE CARGO_ENCODED_RUSTFLAGS

host=$(rustc -vV | sed -n 's/^host: //p')
profdata=$(rustc --print sysroot)/lib/rustlib/$host/bin/llvm-profdata
if [ ! -x "$profdata" ]; then
    echo "build.sh: llvm-profdata of this toolchain is missing: rustup component add llvm-tools" >&2
    exit 2
fi
for tool in python3 openssl; do
    command -v "$tool" >/dev/null || { echo "build.sh: $tool is missing, for benches/train.py" >&2; exit 2; }
done

folder=$PWD/target/pgo
counts=$folder/counts
built=$folder/$host/dist/unstick
rm -rf "$counts"
case $folder in
*" "*)
    echo "build.sh: the flags of rustc may have no spaces, and the path of this tree has: $PWD" >&2
    exit 2
    ;;
esac

# With a target, the flags are not for the build scripts, which would count too.
compile() { # flag of rustc, flags of cargo
    flag=$1
    shift
    rm -f "$built"
    RUSTFLAGS="${RUSTFLAGS:-} $flag" cargo build --profile dist --locked --target "$host" --target-dir "$folder" "$@"
}

echo "1 of 3: with counters"
compile "-Cprofile-generate=$counts" "$@"
echo "2 of 3: requests are played"
python3 benches/train.py --unstick "$built"
if ! ls "$counts"/*.profraw >/dev/null 2>&1; then
    echo "build.sh: the binary has counted nothing" >&2
    exit 1
fi
"$profdata" merge -o "$counts/all.profdata" "$counts"
echo "3 of 3: by the profile"
compile "-Cprofile-use=$counts/all.profdata" "$@"
install -D -m 755 "$built" target/dist/unstick
