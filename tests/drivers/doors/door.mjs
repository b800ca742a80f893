// Connects with a URL and says who it is: "in NAME", or "out SQLSTATE". Usage: node door.mjs URL
import { createRequire } from "node:module";
const { Client } = createRequire(process.cwd() + "/")("pg");
const client = new Client({ connectionString: process.argv[2] });
try {
    await client.connect();
    const answer = await client.query("SELECT current_user");
    console.log("in " + answer.rows[0].current_user);
    await client.end();
} catch (refusal) {
    console.log("out " + (refusal.code ?? ""));
    console.error(refusal.message);
}
