#!/bin/sh
# Make build/redd_VERSION-REVISION_ARCH.deb of what `make install` installs. Called by `make deb`, which sets OUT,
# VERSION, REVISION and MAKE (COMPRESS=gzip packs faster); needs dpkg-dev. The same sources give the same bytes: times
# are those of the newest commit, or SOURCE_DATE_EPOCH. Who answers for the package: DEBFULLNAME and DEBEMAIL, as
# Debian's tools read them, else the newest commit's author.
set -eu
here=systemd/debian
stage=$PWD/${OUT%/*}/deb
root=$stage/root
arch=$(dpkg --print-architecture)
deb=${OUT%/*}/redd_${VERSION}-${REVISION}_$arch.deb
: "${SOURCE_DATE_EPOCH:=$(git log -1 --format=%ct 2>/dev/null || date +%s)}"
export SOURCE_DATE_EPOCH
name=${DEBFULLNAME:-$(git log -1 --format=%an 2>/dev/null || echo redd maintainers)}
maintainer="$name <${DEBEMAIL:-$(git log -1 --format=%ae 2>/dev/null || echo redd@localhost)}>"
umask 022

rm -rf "$stage"
mkdir -p "$root/DEBIAN" "$stage/debian"
env -u MAKEFLAGS "$MAKE" --no-print-directory -s install OUT="$OUT" VERSION="$VERSION" DESTDIR="$root" PREFIX=/usr \
	SYSCONFDIR=/etc UNITDIR=/usr/lib/systemd/system ZSHDIR=/usr/share/zsh/vendor-completions

# What policy asks of a package: stripped programs, compressed manuals, licence and changelog in their form.
strip --strip-unneeded "$root/usr/bin/redd" "$root/usr/bin/redctl"
find "$root/usr/share/man" -type f -exec gzip -9n {} +
doc=$root/usr/share/doc/redd
rm "$doc/LICENSE"
{
	cat "$here/copyright"
	sed -n '/^Permission is hereby/,$p' LICENSE | sed 's/^$/./; s/^/ /'
} >"$doc/copyright"
escaped=$(printf '%s' "$maintainer" | sed 's/[&|\\]/\\&/g')
date=$(LC_ALL=C date -u -d "@$SOURCE_DATE_EPOCH" '+%a, %d %b %Y %H:%M:%S +0000')
sed "s/@VERSION@/$VERSION/g; s/@REVISION@/$REVISION/; s/@DATE@/$date/; s|@MAINTAINER@|$escaped|" "$here/changelog" |
	gzip -9n >"$doc/changelog.Debian.gz"

# Which libraries the programs need, in which versions.
cp "$here/control" "$stage/debian/control"
depends=$(cd "$stage" && dpkg-shlibdeps -O root/usr/bin/redd root/usr/bin/redctl | sed -n 's/^shlibs:Depends=//p')
{
	echo "Package: redd"
	echo "Version: $VERSION-$REVISION"
	echo "Architecture: $arch"
	echo "Installed-Size: $(du -k -s --apparent-size "$root" | cut -f1)"
	echo "Maintainer: $maintainer"
	sed -n '/^Section:/p; /^Priority:/p' "$here/control"
	sed -n '/^Depends:/,$p' "$here/control" | sed "s|\${shlibs:Depends}|$depends|"
} >"$root/DEBIAN/control"
echo /etc/redd/redd.conf >"$root/DEBIAN/conffiles"
for script in postinst prerm postrm; do
	install -m 755 "$here/$script" "$root/DEBIAN/$script"
done
(cd "$root" && find usr etc -type f ! -path etc/redd/redd.conf -print0 | sort -z | xargs -0 md5sum >DEBIAN/md5sums)
find "$root" -newermt "@$SOURCE_DATE_EPOCH" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
dpkg-deb --root-owner-group "-Z${COMPRESS:-xz}" --build "$root" "$deb" >/dev/null
echo "$deb"
