# PostgreSQL's own regression tests, from the source of Debian's package, over TCP with the parallel schedule.
# Sourced by run.sh.

pool=30
# Files that run by themselves after test_setup and create_index, one after the other, in a quarter of a minute.
short_files="boolean char name varchar text int2 int4 int8 numeric uuid json jsonb arrays copy copyselect copydml
    insert update delete select select_into select_distinct transactions prepare prepared_xacts portals portals_p2 temp
    guc limit plpgsql truncate sequence polymorphism rowtypes domain xmlmap advisory_lock async dbsize returning
    largeobject conversion errors groupingsets"

fetch() {
    regress=${PGSHUNT_REGRESS:-$folder/postgresql/src/test/regress}
    if [[ ! -f $regress/parallel_schedule ]]; then
        fetch_source || return 1
    fi
    # The programs of the source's own version, where it is not the installed one: some tests show the difference.
    local usr=/usr
    if [[ -z ${PGSHUNT_REGRESS:-} && -d $folder/postgresql/usr ]]; then
        usr=$folder/postgresql/usr
        pg_bin=$usr/lib/postgresql/$pg_major/bin
    fi
    pg_regress=$usr/lib/postgresql/$pg_major/lib/pgxs/src/test/regress/pg_regress
    [[ -x $pg_regress ]] || need_packages "postgresql-server-dev-$pg_major" || return 1
    # It looks for these beside its own library.
    local library
    for library in autoinc refint; do
        [[ -e $regress/$library.so ]] || cp "$usr/lib/postgresql/$pg_major/lib/$library.so" "$regress"
    done
    [[ -f $regress/regress.so ]] || build_library "$usr/include/postgresql/$pg_major/server"
}

# Its functions in C, with the headers of this major: unpacked, as to install them could bring another server.
build_library() { # FOLDER
    local headers=$1
    if [[ ! -f $headers/postgres.h ]]; then
        headers=$folder/postgresql/headers/usr/include/postgresql/$pg_major/server
        [[ -f $headers/postgres.h ]] || (
            cd "$folder/apt" || exit
            # Those of the server's own version: a newer one's may name functions that it lacks.
            for version in "=$(dpkg-query -W -f '${Version}' "postgresql-$pg_major")" ''; do
                apt-get -qq -o APT::Sandbox::User="$(id -un)" download "postgresql-server-dev-$pg_major$version" && break
            done
            dpkg-deb -x "postgresql-server-dev-$pg_major"_*.deb "$folder/postgresql/headers"
        ) || return 1
    fi
    cc -shared -fPIC -O1 -w -I"$headers" "$regress/regress.c" -o "$regress/regress.so"
}

# Debian's source package by a deb-src list of our own, made of the archives this machine has its packages from. The
# version installed, else the newest that can be had, and then its programs too.
fetch_source() {
    local apt=$folder/apt options installed version
    installed=$(dpkg-query -W -f '${Version}' "postgresql-$pg_major") || return 1
    mkdir -p "$apt/lists"
    apt-get indextargets --format 'deb-src $(SITE) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' | grep '/debian' |
        sed 's,^deb-src,& [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg],' | sort -u >"$apt/sources.list"
    options=(-qq -o "Dir::Etc::SourceList=$apt/sources.list" -o Dir::Etc::SourceParts=- -o "Dir::State::Lists=$apt/lists"
        -o APT::Sandbox::User="$(id -un)")
    (
        cd "$apt"
        apt-get "${options[@]}" update || true
        apt-get "${options[@]}" source --download-only "postgresql-$pg_major=$installed" ||
            apt-get "${options[@]}" source --download-only "postgresql-$pg_major/$(. /etc/os-release && echo "$VERSION_CODENAME")"
    ) >"$apt/log" 2>&1 || { echo "Debian's source package cannot be had:"; tail -3 "$apt/log"; return 1; }
    mkdir -p "$folder/postgresql"
    tar -xf "$apt/postgresql-$pg_major"_*.orig.tar.* -C "$folder/postgresql" --strip-components 1 \
        --wildcards '*/src/test/regress'
    version=$(basename "$apt/postgresql-$pg_major"_*.dsc .dsc)
    version=${version#*_}
    [[ $version == "$installed" ]] || fetch_programs "$version"
}

fetch_programs() { # VERSION
    local apt=$folder/apt package
    (cd "$apt" && apt-get -qq -o APT::Sandbox::User="$(id -un)" download "postgresql-$pg_major=$1" \
        "postgresql-client-$pg_major=$1" "postgresql-server-dev-$pg_major=$1") ||
        { echo "the tests are of $1, PostgreSQL is not: expect differences, directly too"; return 0; }
    for package in "$apt"/*.deb; do dpkg-deb -x "$package" "$folder/postgresql"; done
}

run() { # PORT RESULTS
    local port=$1 out=$stage/regress-$1 selection=(--schedule="$regress/parallel_schedule" --max-concurrent-tests=20)
    ((!short)) || selection=(test_setup create_index $short_files)
    mkdir -p "$out/results" "$out/sql" "$out/expected" "$out/testtablespace"
    ((EUID != 0)) || chown -R postgres "$out"
    sql "$direct" postgres "CREATE DATABASE regression TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'" \
        "ALTER DATABASE regression SET lc_messages TO 'C'" "ALTER DATABASE regression SET lc_monetary TO 'C'" \
        "ALTER DATABASE regression SET lc_numeric TO 'C'" "ALTER DATABASE regression SET lc_time TO 'C'" \
        "ALTER DATABASE regression SET bytea_output TO 'hex'" \
        "ALTER DATABASE regression SET timezone_abbreviations TO 'Default'" \
        "ALTER DATABASE regression SET lock_timeout TO '30s'"
    # It sets its own PGHOST, PGPORT and PGUSER; the password stays ours.
    "$pg_regress" --use-existing --dbname=regression --host=127.0.0.1 --port="$port" --user=app --bindir="$pg_bin" \
        --inputdir="$regress" --outputdir="$out" --dlpath="$regress" "${selection[@]}" >"$out/log" 2>&1 || true
    sed -nE 's/^(test|    ) +([^ ]+) +\.\.\. (ok|FAILED|failed).*/\3\t\2/p' "$out/log" |
        sed -E 's/^ok/passed/; s/^(FAILED|failed)/failed/' >"$2"
    keep "$out/log" "$out/regression.diffs"
    # Left behind by a test on purpose; a database with it cannot be dropped.
    sql "$direct" regression "ROLLBACK PREPARED 'twophase_search'" 2>/dev/null || true
    sql "$direct" postgres "DROP DATABASE regression WITH (FORCE)"
    sql "$direct" postgres "SELECT format('DROP ROLE %I', rolname) FROM pg_roles WHERE rolname LIKE 'regress\_%' \gexec" 2>/dev/null || true
}
