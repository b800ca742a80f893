# Functions that put drivers from the package registries into the current folder; what is there already stays.
# To be sourced by the setup.sh of a folder of tests.

# Python packages in a virtual environment: python/bin/python.
python_packages() {
    [ -x python/bin/python ] || python3 -m venv python
    python/bin/pip install -q --disable-pip-version-check "$@"
}

# Node packages in node_modules, each as NAME@VERSION.
node_packages() {
    for package in "$@"; do
        installed=$(sed -n 's/^  "version": "\(.*\)",$/\1/p' "node_modules/${package%@*}/package.json" 2>/dev/null || true)
        [ "$installed" = "${package##*@}" ] || npm install --silent --no-audit --no-fund --prefix . "$package"
    done
}

# pgjdbc as postgresql.jar: Debian's package, installed or else unpacked here.
pgjdbc() {
    [ -f postgresql.jar ] && return
    if [ -f /usr/share/java/postgresql.jar ]; then
        cp -L /usr/share/java/postgresql.jar .
        return
    fi
    apt-get download -q libpostgresql-jdbc-java >/dev/null 2>&1
    dpkg-deb -x libpostgresql-jdbc-java_*.deb jdbc
    cp -L jdbc/usr/share/java/postgresql.jar .
}

# Compiles Java files, which use pgjdbc, into the current folder.
java_classes() {
    for source in "$@"; do
        class=$(basename "$source" .java).class
        [ -f "$class" ] && [ "$class" -nt "$source" ] || javac -cp postgresql.jar -d . "$source"
    done
}
