// Reads one way in a line and says what became of it: "tls NAME" or "plain NAME", or "no SQLSTATE".
// A line: URL, role and password, with tabs between them.
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.lang.reflect.Field;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import javax.net.ssl.SSLSocket;
import org.postgresql.core.PGStream;
import org.postgresql.core.QueryExecutorBase;
import org.postgresql.jdbc.PgConnection;

public class Door {
    public static void main(String[] arguments) throws Exception {
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, "UTF-8"));
        for (String line; (line = lines.readLine()) != null; ) {
            String[] way = line.split("\t", -1);
            System.out.println(visit(way[0], way[1], way[2]));
        }
    }

    static String visit(String url, String user, String password) throws Exception {
        try (Connection connection = DriverManager.getConnection(url, user, password);
                Statement statement = connection.createStatement();
                ResultSet rows = statement.executeQuery("SELECT current_user")) {
            rows.next();
            return (isEncrypted(connection) ? "tls " : "plain ") + rows.getString(1);
        } catch (SQLException refusal) {
            System.err.println(url + ": " + refusal.getMessage());
            return "no " + refusal.getSQLState();
        }
    }

    // pgjdbc has no way to ask.
    static boolean isEncrypted(Connection connection) throws Exception {
        Field stream = QueryExecutorBase.class.getDeclaredField("pgStream");
        stream.setAccessible(true);
        Object executor = connection.unwrap(PgConnection.class).getQueryExecutor();
        return ((PGStream) stream.get(executor)).getSocket() instanceof SSLSocket;
    }
}
