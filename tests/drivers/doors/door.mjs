// Reads one way in a line, a URL, and says what became of it: "tls NAME" or "plain NAME", or "no SQLSTATE".
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { TLSSocket } from "node:tls";
const { Client } = createRequire(process.cwd() + "/")("pg");

async function visit(url) {
    let client;
    try {
        // node-postgres has no word for it in its URLs.
        const enableChannelBinding = url.includes("channel_binding=");
        client = new Client({ connectionString: url, enableChannelBinding });
        await client.connect();
        const line = client.connection.stream instanceof TLSSocket ? "tls" : "plain";
        const answer = await client.query("SELECT current_user");
        await client.end();
        return `${line} ${answer.rows[0].current_user}`;
    } catch (refusal) {
        console.error(`${url}: ${refusal.message}`);
        client?.end().catch(() => {});
        const isSqlstate = /^[0-9A-Z]{5}$/.test(refusal.code ?? "");
        return `no ${isSqlstate ? refusal.code : ""}`;
    }
}

for await (const url of createInterface({ input: process.stdin })) {
    console.log(await visit(url));
}
process.exit(0);
