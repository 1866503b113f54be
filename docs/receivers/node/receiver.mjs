// Receives order webhooks. ORDERHOOKS_SECRET is what the store showed with the subscription (whsec_…).
import { createServer } from "node:http";
import { Webhook } from "standardwebhooks";

const PORT = Number(process.env.PORT ?? 3000);
const MOST_BYTES = 32 * 1024 * 1024;
const secret = process.env.ORDERHOOKS_SECRET ?? "";
// An empty key, or a public one, is known to everybody.
if (!/^whsec_.{32,}$/.test(secret)) throw new Error("Set ORDERHOOKS_SECRET to the signing secret, whsec_…");
const webhook = new Webhook(secret);
// A store sends an event again until it gets 2xx, so it may come twice. Keep these where they outlive a restart.
const actedOn = new Set();

function act(event) {
  const { number, total, currency } = event.data.order;
  console.log(`${event.type}: order ${number}, ${total} ${currency}`);
}

async function bodyOf(request) {
  const pieces = [];
  let bytes = 0;
  for await (const piece of request) {
    bytes += piece.length;
    if (bytes > MOST_BYTES) throw new Error("The body is too long.");
    pieces.push(piece);
  }
  return Buffer.concat(pieces);
}

async function statusFor(request) {
  if (request.method !== "POST") return 405;
  let event;
  try {
    // The raw bytes: JSON that was parsed and written again is not what was signed.
    event = webhook.verify(await bodyOf(request), request.headers);
  } catch (error) {
    console.error(`refused: ${error.message}`);
    return 401;
  }
  if (actedOn.has(event.id)) return 200;
  act(event);
  actedOn.add(event.id);
  return 204;
}

const server = createServer(async (request, response) => {
  let status = 500;
  try {
    status = await statusFor(request);
  } catch (error) {
    // The store comes again.
    console.error(error);
  }
  response.writeHead(status).end();
});

server.listen(PORT, "127.0.0.1", () => console.log(`Listening at http://127.0.0.1:${PORT}/`));
