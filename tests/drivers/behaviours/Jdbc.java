// pgjdbc: a behaviour is a function of a new connection; its result or its error is one line. It connects as libpq's
// environment says.
import java.io.StringReader;
import java.io.StringWriter;
import java.sql.*;
import java.util.*;
import org.postgresql.PGConnection;
import org.postgresql.PGNotification;
import org.postgresql.PGStatement;
import org.postgresql.copy.CopyManager;

public class Jdbc {
    interface Does {
        Object with(Connection connection) throws Exception;
    }

    interface Fails {
        Object now() throws Exception;
    }

    static Connection connect(String... more) throws SQLException {
        Properties properties = new Properties();
        properties.setProperty("user", System.getenv("PGUSER"));
        properties.setProperty("password", System.getenv("PGPASSWORD"));
        properties.setProperty("sslmode", System.getenv("PGSSLMODE"));
        for (int i = 0; i < more.length; i += 2) {
            properties.setProperty(more[i], more[i + 1]);
        }
        return DriverManager.getConnection("jdbc:postgresql://" + System.getenv("PGHOST") + ":" + System.getenv("PGPORT")
                + "/" + System.getenv("PGDATABASE"), properties);
    }

    static void behaviour(String name, Does does) throws Exception {
        try (Connection connection = connect()) {
            System.out.println(name + ": " + String.valueOf(does.with(connection)).replace('\n', '/'));
        } catch (SQLException error) {
            System.out.println(name + ": error " + told(error));
        }
    }

    static String told(Exception error) {
        String state = error instanceof SQLException ? ((SQLException) error).getSQLState() : error.getClass().getName();
        return state + " " + String.valueOf(error.getMessage()).split("\n")[0];
    }

    static String failing(Fails does) {
        try {
            return "no error but " + does.now();
        } catch (Exception error) {
            return told(error);
        }
    }

    static List<String> rows(ResultSet result) throws SQLException {
        List<String> rows = new ArrayList<>();
        int columns = result.getMetaData().getColumnCount();
        while (result.next()) {
            List<String> row = new ArrayList<>();
            for (int i = 1; i <= columns; i++) {
                boolean isBytes = result.getMetaData().getColumnTypeName(i).equals("bytea");
                row.add(isBytes ? Arrays.toString(result.getBytes(i)) : result.getString(i));
            }
            rows.add(String.join("|", row.stream().map(String::valueOf).toList()));
        }
        return rows;
    }

    static List<String> query(Connection c, String sql, Object... values) throws SQLException {
        try (PreparedStatement statement = c.prepareStatement(sql)) {
            for (int i = 0; i < values.length; i++) {
                statement.setObject(i + 1, values[i]);
            }
            return rows(statement.executeQuery());
        }
    }

    static int run(Connection c, String sql) throws SQLException {
        try (Statement statement = c.createStatement()) {
            statement.execute(sql);
            return statement.getUpdateCount();
        }
    }

    static final String TYPES = "SELECT true, 1::int2, 2::int4, 3::int8, 1.5::float4, 2.25::float8,"
            + " 12345678901234567890.123456789::numeric, 'text'::text, 'c'::char(3), '\\xdeadbeef'::bytea, '2024-02-29'::date,"
            + " '12:34:56.789'::time, '2024-02-29 12:34:56.789'::timestamp, '2024-02-29 12:34:56+02'::timestamptz,"
            + " '1 mon 2 days 03:04:05'::interval, '0b9c3f4e-6f0e-4ad7-9c0a-3f3f6d8c1a52'::uuid, '{\"a\": [1]}'::jsonb,"
            + " ARRAY[1, NULL, 3], ARRAY['x', 'y'], NULL::int, 'NaN'::float8";

    static void whenActive(String words, Fails act) {
        new Thread(() -> {
            try (Connection watcher = connect()) {
                String sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'active'"
                        + " AND pid <> pg_backend_pid() AND strpos(query, '" + words + "') > 0";
                for (int n = 0; n < 1000 && query(watcher, sql).get(0).equals("0"); n++) {
                    Thread.sleep(20);
                }
                act.now();
            } catch (Exception error) {
                error.printStackTrace();
            }
        }).start();
    }

    public static void main(String[] arguments) throws Exception {
        statements();
        errors();
        transactions();
        sessions();
        streams();
    }

    static void statements() throws Exception {
        behaviour("simple", c -> {
            try (Connection other = connect("preferQueryMode", "simple")) {
                return query(other, "SELECT ?::int + 1, ?", 41, "é");
            }
        });
        behaviour("extended", c -> query(c, "SELECT ?::int + 1, ?", 41, "é"));
        behaviour("types_text", c -> query(c, TYPES));
        behaviour("types_binary", c -> {
            List<String> last = null;
            try (PreparedStatement statement = c.prepareStatement(TYPES)) {
                statement.unwrap(PGStatement.class).setPrepareThreshold(1);
                for (int n = 0; n < 3; n++) {
                    last = rows(statement.executeQuery());
                }
            }
            return last;
        });
        behaviour("prepared_threshold", c -> {
            List<String> seen = new ArrayList<>();
            try (PreparedStatement statement = c.prepareStatement("SELECT ?::int * 2")) {
                for (int n = 0; n < 12; n++) {
                    statement.setInt(1, n);
                    seen.addAll(rows(statement.executeQuery()));
                }
                seen.add("" + statement.unwrap(PGStatement.class).isUseServerPrepare());
            }
            return seen;
        });
        behaviour("prepared_many", c -> {
            int sum = 0;
            try (Connection other = connect("prepareThreshold", "1", "preparedStatementCacheQueries", "20")) {
                for (int n = 0; n < 300; n++) {
                    sum += Integer.parseInt(query(other, "SELECT ?::int + " + n % 60, n).get(0));
                }
            }
            return sum;
        });
        behaviour("cached_plan", c -> {
            run(c, "CREATE TABLE cached (a int)");
            run(c, "INSERT INTO cached VALUES (1)");
            List<Object> seen = new ArrayList<>();
            try (PreparedStatement statement = c.prepareStatement("SELECT * FROM cached")) {
                for (int n = 0; n < 7; n++) {
                    seen.add(rows(statement.executeQuery()));
                }
                run(c, "ALTER TABLE cached ADD b text DEFAULT 'new'");
                seen.add(failing(() -> rows(statement.executeQuery())));
                seen.add(failing(() -> rows(statement.executeQuery())));
                c.setAutoCommit(false);
                run(c, "ALTER TABLE cached ADD d int DEFAULT 3");
                seen.add(failing(() -> rows(statement.executeQuery())));
                c.rollback();
            }
            run(c, "DROP TABLE cached");
            c.commit();
            return seen;
        });
        behaviour("batch", c -> {
            run(c, "CREATE TEMP TABLE batched (a int, b text)");
            try (PreparedStatement statement = c.prepareStatement("INSERT INTO batched VALUES (?, ?)")) {
                for (int n = 0; n < 500; n++) {
                    statement.setInt(1, n);
                    statement.setString(2, "b");
                    statement.addBatch();
                }
                return statement.executeBatch().length + " " + query(c, "SELECT sum(a) FROM batched");
            }
        });
        behaviour("batch_fails", c -> {
            run(c, "CREATE TEMP TABLE batched (a int PRIMARY KEY)");
            try (Statement statement = c.createStatement()) {
                for (int n : new int[] {1, 2, 2, 3}) {
                    statement.addBatch("INSERT INTO batched VALUES (" + n + ")");
                }
                return failing(statement::executeBatch).split("\\.")[0] + query(c, "SELECT count(*) FROM batched");
            }
        });
        behaviour("multi_statement", c -> {
            List<Object> seen = new ArrayList<>();
            try (Statement statement = c.createStatement()) {
                boolean more = statement.execute("SELECT 1; CREATE TEMP TABLE multi (a int); INSERT INTO multi VALUES (7); SELECT 'two'");
                while (more || statement.getUpdateCount() != -1) {
                    seen.add(more ? rows(statement.getResultSet()) : "" + statement.getUpdateCount());
                    more = statement.getMoreResults();
                }
            }
            return seen;
        });
        behaviour("generated_keys", c -> {
            run(c, "CREATE TEMP TABLE numbered (id serial, a text)");
            try (PreparedStatement statement = c.prepareStatement("INSERT INTO numbered (a) VALUES (?)",
                    Statement.RETURN_GENERATED_KEYS)) {
                statement.setString(1, "x");
                statement.executeUpdate();
                return rows(statement.getGeneratedKeys());
            }
        });
        behaviour("empty_query", c -> {
            try (Statement statement = c.createStatement()) {
                return statement.execute("") + " " + statement.execute(";") + " " + statement.execute("-- nothing");
            }
        });
        behaviour("nulls_arrays", c -> query(c, "SELECT ?::text, ?::int[], ?::text[]", null,
                c.createArrayOf("int4", new Object[] {1, null, 3}), c.createArrayOf("text", new Object[] {"x", "y,z"})));
        behaviour("call", c -> {
            run(c, "CREATE FUNCTION pg_temp.twice(a int, OUT b int) LANGUAGE sql AS 'SELECT a * 2'");
            try (CallableStatement call = c.prepareCall("{? = call pg_temp.twice(?)}")) {
                call.registerOutParameter(1, Types.INTEGER);
                call.setInt(2, 21);
                call.execute();
                return call.getInt(1);
            }
        });
        behaviour("metadata", c -> {
            run(c, "CREATE TABLE described (id int PRIMARY KEY, a text NOT NULL)");
            List<Object> seen = new ArrayList<>();
            seen.add(rows(c.getMetaData().getPrimaryKeys(null, "public", "described")).stream().map(row -> row.split("\\|", 2)[1]).toList());
            ResultSet columns = c.getMetaData().getColumns(null, "public", "described", null);
            while (columns.next()) {
                seen.add(columns.getString("COLUMN_NAME") + " " + columns.getString("TYPE_NAME"));
            }
            run(c, "DROP TABLE described");
            return seen;
        });
    }

    static void errors() throws Exception {
        behaviour("error_outside_transaction", c -> failing(() -> query(c, "SELEC 1")) + failing(() -> query(c, "SELECT 1 / ?", 0))
                + query(c, "SELECT 1"));
        behaviour("error_in_transaction", c -> {
            c.setAutoCommit(false);
            String seen = failing(() -> query(c, "SELECT 1 / 0")) + failing(() -> query(c, "SELECT 1"));
            c.rollback();
            return seen + query(c, "SELECT 2");
        });
        behaviour("autosave", c -> {
            try (Connection other = connect("autosave", "always")) {
                other.setAutoCommit(false);
                return failing(() -> query(other, "SELECT 1 / 0")) + query(other, "SELECT 1");
            }
        });
        behaviour("query_timeout", c -> {
            try (Statement statement = c.createStatement()) {
                statement.setQueryTimeout(1);
                return failing(() -> statement.execute("SELECT pg_sleep(10)")) + query(c, "SELECT 'alive'");
            }
        });
        behaviour("statement_timeout", c -> {
            run(c, "SET statement_timeout = 50");
            return failing(() -> run(c, "SELECT pg_sleep(10)"));
        });
        behaviour("cancel", c -> {
            try (Statement statement = c.createStatement()) {
                whenActive("pg_sleep(67)", () -> {
                    statement.cancel();
                    return null;
                });
                return failing(() -> statement.execute("SELECT pg_sleep(67)")) + query(c, "SELECT 'alive'");
            }
        });
        behaviour("notices", c -> {
            try (Statement statement = c.createStatement()) {
                statement.execute("DO $$BEGIN RAISE NOTICE 'one'; RAISE WARNING 'two'; END$$");
                List<String> seen = new ArrayList<>();
                for (SQLWarning warning = statement.getWarnings(); warning != null; warning = warning.getNextWarning()) {
                    seen.add(warning.getSQLState() + " " + warning.getMessage());
                }
                return seen;
            }
        });
        behaviour("wrong_password", c -> failing(() -> connect("password", "wrong")));
    }

    static void transactions() throws Exception {
        behaviour("savepoints", c -> {
            c.setAutoCommit(false);
            run(c, "CREATE TEMP TABLE saved (a int)");
            Savepoint first = c.setSavepoint();
            run(c, "INSERT INTO saved VALUES (1)");
            run(c, "SET work_mem = '6MB'");
            c.rollback(first);
            Savepoint named = c.setSavepoint("named");
            run(c, "INSERT INTO saved VALUES (2)");
            c.releaseSavepoint(named);
            c.commit();
            return query(c, "SELECT * FROM saved") + "" + query(c, "SHOW work_mem");
        });
        behaviour("isolation", c -> {
            List<Object> seen = new ArrayList<>();
            for (int level : new int[] {Connection.TRANSACTION_SERIALIZABLE, Connection.TRANSACTION_REPEATABLE_READ,
                Connection.TRANSACTION_READ_COMMITTED}) {
                c.setTransactionIsolation(level);
                c.setAutoCommit(false);
                seen.add(query(c, "SHOW transaction_isolation"));
                c.commit();
                c.setAutoCommit(true);
            }
            return seen;
        });
        behaviour("read_only", c -> {
            c.setReadOnly(true);
            c.setAutoCommit(false);
            String seen = failing(() -> run(c, "CREATE TABLE never (a int)"));
            c.rollback();
            c.setAutoCommit(true);
            return seen + query(c, "SHOW transaction_read_only") + c.isReadOnly();
        });
        behaviour("close_in_transaction", c -> {
            run(c, "CREATE TABLE unfinished (a int)");
            Connection other = connect();
            other.setAutoCommit(false);
            run(other, "INSERT INTO unfinished VALUES (1)");
            other.close();
            List<String> seen = query(c, "SELECT count(*) FROM unfinished");
            run(c, "DROP TABLE unfinished");
            return seen;
        });
        behaviour("abort", c -> {
            Connection other = connect();
            other.setAutoCommit(false);
            run(other, "SELECT pg_advisory_lock(4718)");
            other.abort(Runnable::run);
            for (int n = 0; n < 1000; n++) {
                if (query(c, "SELECT pg_try_advisory_lock(4718)").get(0).equals("t")) {
                    return "its lock is gone";
                }
                Thread.sleep(10);
            }
            return "its lock is kept";
        });
    }

    static void sessions() throws Exception {
        behaviour("set_reset", c -> {
            run(c, "SET search_path = pg_catalog");
            String seen = query(c, "SHOW search_path") + failing(() -> run(c, "SET work_mem = 'nonsense'"));
            run(c, "RESET ALL");
            return seen + query(c, "SHOW search_path");
        });
        behaviour("schema", c -> {
            try (Connection other = connect("currentSchema", "pg_catalog", "options", "-c work_mem=9MB", "ApplicationName", "behaviours")) {
                String seen = query(other, "SHOW search_path") + "" + query(other, "SHOW work_mem") + query(other, "SHOW application_name");
                other.setSchema("public");
                return seen + other.getSchema();
            }
        });
        behaviour("client_info", c -> {
            c.setClientInfo("ApplicationName", "renamed");
            return query(c, "SHOW application_name") + c.getClientInfo("ApplicationName");
        });
        behaviour("temp_table", c -> {
            run(c, "CREATE TEMP TABLE mine AS SELECT 1 AS a");
            try (Connection other = connect()) {
                return query(c, "SELECT * FROM mine") + failing(() -> query(other, "SELECT * FROM mine"));
            }
        });
        behaviour("advisory_lock", c -> {
            query(c, "SELECT pg_advisory_lock(4719)");
            try (Connection other = connect()) {
                return query(other, "SELECT pg_try_advisory_lock(4719)") + "" + query(c, "SELECT pg_advisory_unlock(4719)")
                        + query(other, "SELECT pg_try_advisory_lock(4719)");
            }
        });
        behaviour("listen_notify", c -> {
            run(c, "LISTEN here");
            try (Connection other = connect()) {
                run(other, "NOTIFY here, 'first'");
                run(other, "NOTIFY here, 'second'");
            }
            List<String> seen = new ArrayList<>();
            while (seen.size() < 2) {
                for (PGNotification each : c.unwrap(PGConnection.class).getNotifications(20000)) {
                    seen.add(each.getName() + " " + each.getParameter());
                }
            }
            return seen;
        });
        behaviour("is_valid", c -> c.isValid(5));
        behaviour("reconnect", c -> {
            List<String> seen = new ArrayList<>();
            for (int n = 0; n < 10; n++) {
                try (Connection other = connect()) {
                    seen.addAll(query(other, "SELECT ?::int", n));
                }
            }
            return seen;
        });
    }

    static void streams() throws Exception {
        behaviour("copy_in", c -> {
            run(c, "CREATE TEMP TABLE copied (a int, b text)");
            CopyManager copy = c.unwrap(PGConnection.class).getCopyAPI();
            StringBuilder lines = new StringBuilder();
            for (int n = 0; n < 2000; n++) {
                lines.append(n).append("\trow\n");
            }
            long count = copy.copyIn("COPY copied FROM STDIN", new StringReader(lines.toString()));
            String wrong = failing(() -> copy.copyIn("COPY copied FROM STDIN", new StringReader("x\ty\n")));
            StringWriter out = new StringWriter();
            copy.copyOut("COPY (SELECT * FROM copied LIMIT 2) TO STDOUT CSV", out);
            return count + wrong + out + query(c, "SELECT sum(a) FROM copied");
        });
        behaviour("large_value", c -> query(c, "SELECT length(?), length(?)", "x".repeat(4_000_000), new byte[2_000_000]));
        behaviour("large_result", c -> query(c, "SELECT n, repeat('y', 100) FROM generate_series(1, 50000) n").hashCode());
        behaviour("fetch_size", c -> {
            c.setAutoCommit(false);
            try (Statement statement = c.createStatement(ResultSet.TYPE_FORWARD_ONLY, ResultSet.CONCUR_READ_ONLY)) {
                statement.setFetchSize(50);
                long sum = 0;
                ResultSet result = statement.executeQuery("SELECT generate_series(1, 1000)");
                while (result.next()) {
                    sum += result.getLong(1);
                    if (result.getRow() == 100) {
                        query(c, "SELECT 'between'");
                    }
                }
                return sum;
            }
        });
        behaviour("with_hold", c -> {
            c.setAutoCommit(false);
            try (Statement statement = c.createStatement(ResultSet.TYPE_FORWARD_ONLY, ResultSet.CONCUR_READ_ONLY,
                    ResultSet.HOLD_CURSORS_OVER_COMMIT)) {
                statement.setFetchSize(3);
                ResultSet result = statement.executeQuery("SELECT generate_series(1, 10)");
                result.next();
                c.commit();
                return rows(result);
            }
        });
        behaviour("updatable", c -> {
            run(c, "CREATE TABLE updatable (id int PRIMARY KEY, a text)");
            run(c, "INSERT INTO updatable VALUES (1, 'x')");
            try (Statement statement = c.createStatement(ResultSet.TYPE_SCROLL_INSENSITIVE, ResultSet.CONCUR_UPDATABLE)) {
                ResultSet result = statement.executeQuery("SELECT * FROM updatable");
                result.next();
                result.updateString("a", "changed");
                result.updateRow();
            }
            List<String> seen = query(c, "SELECT * FROM updatable");
            run(c, "DROP TABLE updatable");
            return seen;
        });
        behaviour("large_object", c -> {
            c.setAutoCommit(false);
            var large = c.unwrap(PGConnection.class).getLargeObjectAPI();
            long oid = large.createLO();
            var object = large.open(oid);
            {
                object.write("0123456789".getBytes());
                object.seek(3);
                String seen = new String(object.read(4)) + object.size();
                c.rollback();
                return seen;
            }
        });
    }
}
