// better-sse: a channel broadcasts each event of the feed to every session.

"use strict";

const http = require("node:http");
const { createChannel, createSession } = require("better-sse");
const feed = require("./feed.cjs");

const { PEER_BACKLOG, PEER_FEED, PEER_HOST, PEER_PORT } = process.env;

const channel = createChannel();

// The feed sends JSON already: parsed here, it would be written anew for every session.
const serializer = (json) => json;

const server = http.createServer(async (request, response) => {
  channel.register(await createSession(request, response, { serializer, retry: 5000 }));
});

const broadcast = (data, number) => {
  channel.broadcast(data, "price:update", { eventId: String(number) });
};

feed.listen(PEER_FEED, broadcast, () => {
  server.listen({ host: PEER_HOST, port: Number(PEER_PORT), backlog: Number(PEER_BACKLOG) });
});
