// What the programs in Go share: a behaviour is a function of database/sql over one driver; its result or its error is
// one line. They connect as libpq's environment says.
package main

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"time"
)

var background = context.Background()

func behaviour(name string, does func() any) {
	seen := fmt.Sprintf("%v", does())
	fmt.Printf("%s: %s\n", name, strings.ReplaceAll(seen, "\n", "/"))
}

// One connection of its own.
func connect() (*sql.DB, *sql.Conn) {
	db := open("")
	c, err := db.Conn(background)
	if err != nil {
		panic(err)
	}
	return db, c
}

func with(does func(c *sql.Conn) any) func() any {
	return func() any {
		db, c := connect()
		defer db.Close()
		defer c.Close()
		return does(c)
	}
}

type asks interface {
	QueryContext(context.Context, string, ...any) (*sql.Rows, error)
	ExecContext(context.Context, string, ...any) (sql.Result, error)
}

func run(c asks, text string, values ...any) string {
	result, err := c.ExecContext(background, text, values...)
	if err != nil {
		return told(err)
	}
	count, _ := result.RowsAffected()
	return fmt.Sprint(count)
}

func rows(c asks, text string, values ...any) string {
	result, err := c.QueryContext(background, text, values...)
	if err != nil {
		return told(err)
	}
	return read(result)
}

func read(result *sql.Rows) string {
	defer result.Close()
	columns, _ := result.Columns()
	var seen []string
	for result.Next() {
		row := make([]any, len(columns))
		into := make([]any, len(columns))
		for n := range row {
			into[n] = &row[n]
		}
		if err := result.Scan(into...); err != nil {
			return told(err)
		}
		var values []string
		for _, value := range row {
			switch value := value.(type) {
			case []byte:
				values = append(values, string(value))
			case time.Time:
				values = append(values, value.UTC().String())
			default:
				values = append(values, fmt.Sprint(value))
			}
		}
		seen = append(seen, strings.Join(values, "|"))
	}
	if err := result.Err(); err != nil {
		return strings.Join(seen, ",") + " then " + told(err)
	}
	return strings.Join(seen, ",")
}

func untilActive(words string) {
	db, c := connect()
	defer db.Close()
	defer c.Close()
	text := "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'active'" +
		" AND pid <> pg_backend_pid() AND strpos(query, '" + words + "') > 0"
	for n := 0; n < 1000 && rows(c, text) == "0"; n++ {
		time.Sleep(20 * time.Millisecond)
	}
}

const types = "SELECT true, 1::int2, 2::int4, 3::int8, 1.5::float4, 2.25::float8, 12345678901234567890.123456789::numeric," +
	" 'text'::text, 'c'::char(3), '\\xdeadbeef'::bytea, '2024-02-29'::date, '2024-02-29 12:34:56.789'::timestamp," +
	" '2024-02-29 12:34:56+02'::timestamptz, '0b9c3f4e-6f0e-4ad7-9c0a-3f3f6d8c1a52'::uuid::text, '{\"a\": [1]}'::jsonb::text," +
	" ARRAY[1, NULL, 3]::text, NULL::int, 'NaN'::float8"

func common() {
	behaviour("simple", with(func(c *sql.Conn) any { return rows(c, "SELECT 1, 'a', NULL") }))
	behaviour("extended", with(func(c *sql.Conn) any { return rows(c, "SELECT $1::int + 1, $2::text", 41, "é") }))
	behaviour("types", with(func(c *sql.Conn) any { return rows(c, types) }))
	behaviour("types_with_parameter", with(func(c *sql.Conn) any { return rows(c, types+" WHERE $1 = 1", 1) }))
	behaviour("prepared_reuse", with(func(c *sql.Conn) any {
		statement, err := c.PrepareContext(background, "SELECT $1::int * 2")
		if err != nil {
			return told(err)
		}
		defer statement.Close()
		var seen []string
		for n := 0; n < 12; n++ {
			result, err := statement.Query(n)
			if err != nil {
				return told(err)
			}
			seen = append(seen, read(result))
		}
		return seen
	}))
	behaviour("many_statements", with(func(c *sql.Conn) any {
		var seen string
		for n := 0; n < 300; n++ {
			seen = rows(c, fmt.Sprintf("SELECT $1::int + %d", n%120), n)
		}
		return seen
	}))
	behaviour("cached_plan", with(func(c *sql.Conn) any {
		run(c, "CREATE TABLE cached (a int)")
		run(c, "INSERT INTO cached VALUES (1)")
		statement, _ := c.PrepareContext(background, "SELECT * FROM cached")
		again := func() string {
			result, err := statement.Query()
			if err != nil {
				return told(err)
			}
			return read(result)
		}
		seen := []string{again(), run(c, "ALTER TABLE cached ADD b text DEFAULT 'new'"), again()}
		statement.Close()
		run(c, "DROP TABLE cached")
		return seen
	}))
	behaviour("sql_prepare", with(func(c *sql.Conn) any {
		return []string{run(c, "PREPARE twice (int) AS SELECT $1 * 2"), rows(c, "EXECUTE twice (4)"), run(c, "DEALLOCATE twice"),
			rows(c, "EXECUTE twice (4)")}
	}))
	behaviour("error_outside_transaction", with(func(c *sql.Conn) any {
		return []string{rows(c, "SELEC 1"), rows(c, "SELECT * FROM nowhere"), rows(c, "SELECT 1 / $1::int", 0), rows(c, "SELECT 1")}
	}))
	behaviour("error_after_rows", with(func(c *sql.Conn) any { return rows(c, "SELECT 1 / (3 - n) FROM generate_series(1, 5) n") }))
	behaviour("error_in_transaction", with(func(c *sql.Conn) any {
		t, _ := c.BeginTx(background, nil)
		seen := []string{rows(t, "SELECT 1 / 0"), rows(t, "SELECT 1"), told(t.Commit())}
		return append(seen, rows(c, "SELECT 2"))
	}))
	behaviour("savepoints", with(func(c *sql.Conn) any {
		t, _ := c.BeginTx(background, nil)
		run(t, "CREATE TEMP TABLE saved (a int)")
		run(t, "SAVEPOINT s")
		run(t, "INSERT INTO saved VALUES ($1)", 1)
		run(t, "SET work_mem = '6MB'")
		run(t, "SELECT 1 / 0")
		run(t, "ROLLBACK TO s")
		run(t, "INSERT INTO saved VALUES ($1)", 2)
		return []string{told(t.Commit()), rows(c, "SELECT * FROM saved"), rows(c, "SHOW work_mem")}
	}))
	for _, level := range []sql.IsolationLevel{sql.LevelSerializable, sql.LevelRepeatableRead, sql.LevelReadCommitted} {
		behaviour("isolation "+level.String(), with(func(c *sql.Conn) any {
			t, err := c.BeginTx(background, &sql.TxOptions{Isolation: level, ReadOnly: true})
			if err != nil {
				return told(err)
			}
			defer t.Rollback()
			return []string{rows(t, "SHOW transaction_isolation"), run(t, "CREATE TABLE never (a int)")}
		}))
	}
	behaviour("statement_timeout", with(func(c *sql.Conn) any {
		return []string{run(c, "SET statement_timeout = 50"), run(c, "SELECT pg_sleep(10)"), rows(c, "SHOW statement_timeout")}
	}))
	behaviour("cancel", with(func(c *sql.Conn) any {
		running, cancel := context.WithCancel(background)
		go func() {
			untilActive("pg_sleep(68)")
			cancel()
		}()
		_, err := c.ExecContext(running, "SELECT pg_sleep(68)")
		return err != nil
	}))
	behaviour("large_value", with(func(c *sql.Conn) any {
		return []string{rows(c, "SELECT length($1::text)", strings.Repeat("x", 4000000)), rows(c, "SELECT length($1::bytea)", make([]byte, 2000000))}
	}))
	behaviour("large_result", with(func(c *sql.Conn) any {
		return len(rows(c, "SELECT n, repeat('y', 100) FROM generate_series(1, 50000) n"))
	}))
	behaviour("sql_cursor", with(func(c *sql.Conn) any {
		t, _ := c.BeginTx(background, nil)
		defer t.Rollback()
		return []string{run(t, "DECLARE served SCROLL CURSOR FOR SELECT generate_series(1, 100)"), rows(t, "FETCH 2 FROM served"),
			rows(t, "FETCH LAST FROM served")}
	}))
	behaviour("with_hold", with(func(c *sql.Conn) any {
		return []string{run(c, "DECLARE held CURSOR WITH HOLD FOR SELECT generate_series(1, 10)"), rows(c, "FETCH 2 FROM held"),
			rows(c, "FETCH 2 FROM held"), run(c, "CLOSE held")}
	}))
	behaviour("set_reset", with(func(c *sql.Conn) any {
		return []string{run(c, "SET search_path = pg_catalog"), rows(c, "SHOW search_path"), run(c, "SET work_mem = 'nonsense'"),
			run(c, "RESET ALL"), rows(c, "SHOW search_path")}
	}))
	behaviour("set_config", with(func(c *sql.Conn) any {
		return []string{rows(c, "SELECT set_config('app.tenant', $1, false)", "t1"), rows(c, "SHOW app.tenant")}
	}))
	behaviour("temp_table", with(func(c *sql.Conn) any {
		run(c, "CREATE TEMP TABLE mine AS SELECT 1 AS a")
		db, other := connect()
		defer db.Close()
		defer other.Close()
		return []string{rows(c, "SELECT * FROM mine"), rows(other, "SELECT * FROM mine")}
	}))
	behaviour("advisory_lock", with(func(c *sql.Conn) any {
		run(c, "SELECT pg_advisory_lock(4720)")
		db, other := connect()
		defer db.Close()
		defer other.Close()
		return []string{rows(other, "SELECT pg_try_advisory_lock(4720)"), rows(c, "SELECT pg_advisory_unlock(4720)"),
			rows(other, "SELECT pg_try_advisory_lock(4720)")}
	}))
	behaviour("generated_ids", with(func(c *sql.Conn) any {
		run(c, "CREATE TEMP TABLE numbered (id serial, a text)")
		return []string{rows(c, "INSERT INTO numbered (a) VALUES ($1) RETURNING id", "x"), rows(c, "SELECT lastval()")}
	}))
	behaviour("empty_query", with(func(c *sql.Conn) any { return []string{run(c, ""), run(c, ";"), run(c, "-- nothing")} }))
	behaviour("nulls", with(func(c *sql.Conn) any { return rows(c, "SELECT $1::text, $2::int", nil, sql.NullInt64{}) }))
	behaviour("pool", func() any {
		db := open("")
		defer db.Close()
		db.SetMaxOpenConns(8)
		answers := make(chan string)
		for n := 0; n < 60; n++ {
			go func(n int) { answers <- rows(db, "SELECT $1::int FROM pg_sleep(0.01)", n) }(n)
		}
		sum := 0
		for n := 0; n < 60; n++ {
			var answer int
			fmt.Sscan(<-answers, &answer)
			sum += answer
		}
		return sum
	})
	behaviour("close_in_transaction", with(func(c *sql.Conn) any {
		run(c, "CREATE TABLE unfinished (a int)")
		db, other := connect()
		run(other, "BEGIN")
		run(other, "INSERT INTO unfinished VALUES (1)")
		other.Close()
		db.Close()
		seen := rows(c, "SELECT count(*) FROM unfinished")
		run(c, "DROP TABLE unfinished")
		return seen
	}))
	behaviour("reconnect", func() any {
		var seen []string
		for n := 0; n < 10; n++ {
			db, c := connect()
			seen = append(seen, rows(c, "SELECT $1::int", n))
			c.Close()
			db.Close()
		}
		return seen
	})
	behaviour("wrong_password", func() any {
		db := open("password=wrong")
		defer db.Close()
		return strings.Contains(told(db.Ping()), "28P01")
	})
}
