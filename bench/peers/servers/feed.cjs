// The feed of the Node peers: a Unix socket that takes events, one line of JSON each.

"use strict";

const net = require("node:net");

/** Calls `onEvent(data, number)` for each line; the first event has number 1. */
exports.listen = (path, onEvent, onListening) => {
  let number = 0;
  const server = net.createServer((feed) => {
    let rest = "";
    feed.setEncoding("utf8");
    feed.on("data", (text) => {
      const lines = (rest + text).split("\n");
      rest = lines.pop();
      for (const line of lines) {
        number += 1;
        onEvent(line, number);
      }
    });
  });
  server.listen(path, onListening);
};
