// lib/pq: unnamed statements, COPY by Prepare, LISTEN by its own listener.
package main

import (
	"database/sql"
	"errors"
	"time"

	"github.com/lib/pq"
)

func open(more string) *sql.DB {
	db, err := sql.Open("postgres", more)
	if err != nil {
		panic(err)
	}
	return db
}

func told(err error) string {
	var answer *pq.Error
	if errors.As(err, &answer) {
		return string(answer.Code) + " " + answer.Message
	}
	if err == nil {
		return "ok"
	}
	return err.Error()
}

func main() {
	common()
	behaviour("multi_statement", with(func(c *sql.Conn) any {
		return []string{rows(c, "SELECT 1; SELECT 2"), run(c, "CREATE TABLE half (a int); SELECT 1 / 0"), rows(c, "SELECT * FROM half")}
	}))
	behaviour("arrays", with(func(c *sql.Conn) any {
		return rows(c, "SELECT $1::int[], $2::text[]", pq.Array([]int{1, 2}), pq.Array([]string{"x", "y,z"}))
	}))
	behaviour("binary_parameters", func() any {
		db := open("binary_parameters=yes")
		defer db.Close()
		return rows(db, "SELECT $1::text, $2::bytea", "x", []byte{0, 255})
	})
	behaviour("options", func() any {
		db := open("options='-c work_mem=9MB' application_name=behaviours search_path=pg_catalog")
		defer db.Close()
		return []string{rows(db, "SHOW work_mem"), rows(db, "SHOW application_name"), rows(db, "SHOW search_path")}
	})
	behaviour("copy_in", with(func(c *sql.Conn) any {
		t, _ := c.BeginTx(background, nil)
		run(t, "CREATE TEMP TABLE copied (a int, b text)")
		statement, err := t.Prepare(pq.CopyIn("copied", "a", "b"))
		if err != nil {
			return told(err)
		}
		for n := 0; n < 2000; n++ {
			statement.Exec(n, "row")
		}
		_, err = statement.Exec()
		statement.Close()
		return []string{told(err), rows(t, "SELECT count(*), sum(a) FROM copied"), told(t.Commit())}
	}))
	behaviour("copy_in_fails", with(func(c *sql.Conn) any {
		t, _ := c.BeginTx(background, nil)
		run(t, "CREATE TEMP TABLE copied (a int)")
		statement, _ := t.Prepare(pq.CopyIn("copied", "a"))
		statement.Exec("wrong")
		_, err := statement.Exec()
		statement.Close()
		return []string{told(err), told(t.Rollback()), rows(c, "SELECT 1")}
	}))
	behaviour("listen_notify", with(func(c *sql.Conn) any {
		listener := pq.NewListener("", time.Second, time.Minute, nil)
		defer listener.Close()
		seen := []string{told(listener.Listen("here"))}
		run(c, "NOTIFY here, 'first'")
		run(c, "SELECT pg_notify('here', $1)", "second")
		for len(seen) < 3 {
			select {
			case each := <-listener.Notify:
				seen = append(seen, each.Extra)
			case <-time.After(20 * time.Second):
				return "nothing came"
			}
		}
		return append(seen, told(listener.Ping()))
	}))
	behaviour("notices", func() any {
		base, _ := pq.NewConnector("")
		var seen []string
		db := sql.OpenDB(pq.ConnectorWithNoticeHandler(base, func(notice *pq.Error) { seen = append(seen, notice.Severity+" "+notice.Message) }))
		defer db.Close()
		run(db, "DO $$BEGIN RAISE NOTICE 'one'; RAISE WARNING 'two'; END$$")
		return seen
	})
}
