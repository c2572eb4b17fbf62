#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# scripts/install below a folder: what it puts there, that a second run changes nothing, that --dry-run does nothing,
# that --uninstall keeps what is the user's and --purge doesn't.
set -euo pipefail
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cd "$TKR_SOURCE_DIR"
fail() { echo "FAILED: $*" >&2; exit 1; }
root=$scratch/root
install() { scripts/install --root "$root" --build "$TKR_BUILD_DIR" "$@" 2>&1; }
state() { # times, modes and contents
    (cd "$root" && find . -printf '%p %m %T@\n' | sort && find . -type f -print0 | sort -z | xargs -0 sha256sum)
}
program() { env -u TKR_DECODE "$root/usr/local/bin/tkr-embed" "$@"; }

out=$(install --dry-run) || fail "--dry-run fails: $out"
[[ ! -e $root ]] || fail "--dry-run wrote something"
grep -q 'cmake --install' <<< "$out" || fail "--dry-run doesn't say what it would do: $out"
scripts/install --nonsense 2> /dev/null && fail "a wrong flag is accepted"

# A whole build installs; where only some targets were built, the program can't be installed.
[[ -f $TKR_BUILD_DIR/libtkr.so && -f $TKR_BUILD_DIR/share/tkr-embed.man ]] || fail "$TKR_BUILD_DIR isn't built"
out=$(umask 077 && install --model demo) || fail "install fails: $out"
key=$(sed -n 's/^The first key, shown once: //p' <<< "$out")
[[ $key =~ ^tkr_[A-Za-z0-9]{40}$ ]] || fail "no key is shown: $out"
for file in usr/local/{bin/tkr-embed,libexec/tkr-embed/tkr-decode,share/tkr-embed/demo/config.json} \
    usr/local/share/man/man1/tkr-embed.1 etc/tkr-embed/{serve.yaml,keys} \
    etc/systemd/system/tkr-embed.{service,socket}; do
    [[ -f $root/$file ]] || fail "$file is missing"
done
[[ $(stat -c %a "$root/etc/tkr-embed/keys") == 600 ]] || fail "others can read the keys"
for file in etc/tkr-embed/serve.yaml etc/systemd/system/tkr-embed.service usr/local/share/tkr-embed/demo/config.json; do
    [[ $(stat -c %a "$root/$file") == 644 ]] || fail "the service can't read $file"
done
grep -q '^ExecStart=/usr/local/bin/tkr-embed serve --config /etc/tkr-embed/serve.yaml$' \
    "$root/etc/systemd/system/tkr-embed.service" || fail "the unit starts something else"
sed "s|/etc/tkr-embed/keys|$root/etc/tkr-embed/keys|" "$root/etc/tkr-embed/serve.yaml" > "$scratch/serve.yaml"
checked=$(program serve --check-config -c "$scratch/serve.yaml" 2>&1) || fail "the configuration is wrong: $checked"
rows=$(program embed -m demo --image share/demo/samples/guitar.png) || fail "the installed program doesn't run"
[[ $rows == '{"index":0,"source":"share/demo/samples/guitar.png","kind":"image","embedding":['* ]] ||
    fail "the installed program gives $rows"

before=$(state)
out=$(install --model other) || fail "the second run fails: $out"
[[ $(state) == "$before" ]] || fail "the second run changed something: $(diff <(echo "$before") <(state))"
grep -q 'shown once' <<< "$out" && fail "the second run makes a key"

scripts/install --prefix 2> /dev/null && fail "--prefix without a value is accepted"
others=("$root"/usr/local/lib/{libtkrzw.so.1.0,libtkrzw.a,libtkr-more.so,deep/er/libtkr.so.0})
for file in "${others[@]}"; do install_dir=$(dirname "$file"); mkdir -p "$install_dir"; touch "$file"; done
out=$(install --uninstall) || fail "--uninstall fails: $out"
for file in "${others[@]}"; do [[ -e $file ]] || fail "--uninstall takes $file, which isn't ours"; done
rm -r "${others[@]}"
left=$(cd "$root" && find . ! -type d | sort | tr '\n' ' ')
[[ $left == "./etc/tkr-embed/keys ./etc/tkr-embed/serve.yaml " ]] || fail "--uninstall leaves $left"
install --uninstall --purge > /dev/null || fail "--purge fails"
rm -r "$root/usr/local"
install --uninstall --purge > /dev/null || fail "--purge fails where nothing is installed"
[[ -z $(find "$root" ! -type d) ]] || fail "--purge leaves $(find "$root" ! -type d)"

# Another prefix stands in the unit, too.
out=$(install --prefix /opt/tkr --model demo) || fail "--prefix fails: $out"
grep -q '^ExecStart=/opt/tkr/bin/tkr-embed' "$root/etc/systemd/system/tkr-embed.service" ||
    fail "--prefix isn't in the unit"
[[ -x $root/opt/tkr/bin/tkr-embed ]] || fail "--prefix is not where the program is"

# What it would do where systemd runs and nothing is installed: the keys are root's, and an old server doesn't go on.
sed -e "s|/run/systemd/system|$scratch|; s|^cd .*|cd '$TKR_SOURCE_DIR'|; s|^etc=[^ ]*|etc=$scratch/none|" \
    scripts/install > "$scratch/install"
out=$(bash "$scratch/install" --dry-run --build "$TKR_BUILD_DIR" 2>&1) || fail "--dry-run fails: $out"
for line in "chown root:tkr-embed $scratch/none/keys" "chmod 640 $scratch/none/keys" \
    "systemctl enable tkr-embed.service" "systemctl restart tkr-embed.service"; do
    grep -q "^    $line\$" <<< "$out" || fail "--dry-run doesn't say \"$line\": $out"
done
echo ok
