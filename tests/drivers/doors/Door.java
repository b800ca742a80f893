// Connects with a JDBC URL and says who it is: "in NAME", or "out SQLSTATE". Usage: Door URL USER PASSWORD
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;

public class Door {
    public static void main(String[] arguments) throws Exception {
        try (Connection connection = DriverManager.getConnection(arguments[0], arguments[1], arguments[2]);
                Statement statement = connection.createStatement();
                ResultSet rows = statement.executeQuery("SELECT current_user")) {
            rows.next();
            System.out.println("in " + rows.getString(1));
        } catch (SQLException refusal) {
            System.out.println("out " + refusal.getSQLState());
            System.err.println(refusal.getMessage());
        }
    }
}
