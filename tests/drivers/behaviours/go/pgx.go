// pgx: statements prepared and kept, binary formats, batches; database/sql over it, then its own interface.
package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgconn"
	"github.com/jackc/pgx/v4"
	_ "github.com/jackc/pgx/v4/stdlib"
)

func open(more string) *sql.DB {
	db, err := sql.Open("pgx", more)
	if err != nil {
		panic(err)
	}
	return db
}

func told(err error) string {
	var answer *pgconn.PgError
	if errors.As(err, &answer) {
		return answer.Code + " " + answer.Message
	}
	if err == nil {
		return "ok"
	}
	return err.Error()
}

// A behaviour of pgx's own interface.
func native(name, options string, does func(c *pgx.Conn) any) {
	behaviour(name, func() any {
		config, err := pgx.ParseConfig(options)
		if err != nil {
			return told(err)
		}
		config.OnNotice = func(_ *pgconn.PgConn, notice *pgconn.Notice) { notices = append(notices, notice.Severity+" "+notice.Message) }
		c, err := pgx.ConnectConfig(background, config)
		if err != nil {
			return told(err)
		}
		defer c.Close(background)
		return does(c)
	})
}

var notices []string

func value(c interface {
	QueryRow(context.Context, string, ...any) pgx.Row
}, text string, values ...any) string {
	var seen any
	if err := c.QueryRow(background, text, values...).Scan(&seen); err != nil {
		return told(err)
	}
	return fmt.Sprint(seen)
}

func main() {
	common()
	native("simple_protocol", "", func(c *pgx.Conn) any { return value(c, "SELECT $1::int", pgx.QuerySimpleProtocol(true), 7) })
	native("describe_mode", "statement_cache_mode=describe", func(c *pgx.Conn) any {
		return value(c, "SELECT $1::int", 7) + value(c, "SELECT $1::int", 8)
	})
	native("named", "", func(c *pgx.Conn) any {
		description, err := c.Prepare(background, "named", "SELECT $1::int + 1")
		if err != nil {
			return told(err)
		}
		return []any{description.ParamOIDs, value(c, "named", 1), told(c.Deallocate(background, "named")), value(c, "named", 1)}
	})
	native("batch", "", func(c *pgx.Conn) any {
		batch := &pgx.Batch{}
		for n := 0; n < 30; n++ {
			batch.Queue("SELECT $1::int * 2", n)
		}
		batch.Queue("SELECT 1 / 0")
		batch.Queue("SELECT 'after'")
		results := c.SendBatch(background, batch)
		var seen []string
		for n := 0; n < 32; n++ {
			seen = append(seen, value(single{results}, ""))
		}
		return append(seen, told(results.Close()), value(c, "SELECT 'alive'"))
	})
	native("copy_from", "", func(c *pgx.Conn) any {
		c.Exec(background, "CREATE TEMP TABLE copied (a int, b text)")
		count, err := c.CopyFrom(background, pgx.Identifier{"copied"}, []string{"a", "b"},
			pgx.CopyFromSlice(2000, func(n int) ([]any, error) { return []any{n, "row"}, nil }))
		_, wrong := c.CopyFrom(background, pgx.Identifier{"copied"}, []string{"a"},
			pgx.CopyFromSlice(3, func(n int) ([]any, error) { return nil, errors.New("ours") }))
		return []any{count, told(err), told(wrong), value(c, "SELECT sum(a) FROM copied")}
	})
	native("copy_raw", "", func(c *pgx.Conn) any {
		var out strings.Builder
		_, err := c.PgConn().CopyTo(background, &out, "COPY (SELECT generate_series(1, 3)) TO STDOUT")
		c.Exec(background, "CREATE TEMP TABLE copied (a int)")
		_, wrong := c.PgConn().CopyFrom(background, strings.NewReader("x\n"), "COPY copied FROM STDIN")
		return []string{out.String(), told(err), told(wrong), value(c, "SELECT 'alive'")}
	})
	native("listen_notify", "", func(c *pgx.Conn) any {
		c.Exec(background, "LISTEN here")
		db, other := connect()
		run(other, "NOTIFY here, 'first'")
		run(other, "NOTIFY here, 'second'")
		other.Close()
		db.Close()
		var seen []string
		for n := 0; n < 2; n++ {
			patience, cancel := context.WithTimeout(background, 20*time.Second)
			each, err := c.WaitForNotification(patience)
			cancel()
			if err != nil {
				return told(err)
			}
			seen = append(seen, each.Payload)
		}
		return seen
	})
	native("notices", "", func(c *pgx.Conn) any {
		notices = nil
		c.Exec(background, "DO $$BEGIN RAISE NOTICE 'one'; RAISE WARNING 'two'; END$$")
		return notices
	})
	native("options", "options='-c work_mem=9MB' application_name=behaviours search_path=pg_catalog", func(c *pgx.Conn) any {
		return []string{value(c, "SHOW work_mem"), value(c, "SHOW application_name"), value(c, "SHOW search_path")}
	})
	native("nested_transactions", "", func(c *pgx.Conn) any {
		c.Exec(background, "CREATE TEMP TABLE nested (a int)")
		err := c.BeginFunc(background, func(t pgx.Tx) error {
			t.Exec(background, "INSERT INTO nested VALUES (1)")
			t.BeginFunc(background, func(inner pgx.Tx) error {
				inner.Exec(background, "INSERT INTO nested VALUES (2)")
				return errors.New("ours")
			})
			return nil
		})
		return []string{told(err), value(c, "SELECT array_agg(a)::text FROM nested")}
	})
	native("multi_result", "", func(c *pgx.Conn) any {
		results, err := c.PgConn().Exec(background, "SELECT 1; SELECT 'two'; SELECT 1 / 0; SELECT 4").ReadAll()
		return fmt.Sprint(len(results), told(err))
	})
	native("cancel_request", "", func(c *pgx.Conn) any {
		go func() {
			untilActive("pg_sleep(69)")
			c.PgConn().CancelRequest(background)
		}()
		_, err := c.Exec(background, "SELECT pg_sleep(69)")
		return []string{told(err), value(c, "SELECT 'alive'")}
	})
}

// The next row of a batch, as a row of a query.
type single struct{ results pgx.BatchResults }

func (s single) QueryRow(context.Context, string, ...any) pgx.Row { return s.results.QueryRow() }
