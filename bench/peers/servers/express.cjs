// Express: each event of the feed is written to every response, with or without compression.

"use strict";

const express = require("express");
const http = require("node:http");
const compression = require("compression");
const feed = require("./feed.cjs");

const { PEER_BACKLOG, PEER_FEED, PEER_HOST, PEER_PORT } = process.env;
const compressed = process.argv[2] === "gzip";

const clients = new Set();
const app = express();
if (compressed) {
  app.use(compression());
}

app.get("/events", (request, response) => {
  response.set({ "Content-Type": "text/event-stream", "Cache-Control": "no-cache" });
  response.flushHeaders();
  response.socket.setNoDelay(true);
  clients.add(response);
  response.on("close", () => clients.delete(response));
});

const broadcast = (data, number) => {
  const frame = `event: price:update\ndata: ${data}\nid: ${number}\nretry: 5000\n\n`;
  for (const response of clients) {
    response.write(frame);
    if (compressed) {
      response.flush();
    }
  }
};

feed.listen(PEER_FEED, broadcast, () => {
  http
    .createServer(app)
    .listen({ host: PEER_HOST, port: Number(PEER_PORT), backlog: Number(PEER_BACKLOG) });
});
