// sqs-consumer: a consumer works on a batch at once, of ten at most; more slots are more consumers.

import { spawn } from "node:child_process";
import { Consumer } from "sqs-consumer";

const [program, ...args] = JSON.parse(process.env.BENCH_COMMAND);

const run = (number) =>
  new Promise((done, failed) => {
    const filled = args.map((each) => each.replaceAll("{number}", number));
    const child = spawn(program, filled, { stdio: "inherit" });
    child.on("error", failed);
    child.on("exit", (status) => (status === 0 ? done() : failed(new Error(`status ${status}`))));
  });

for (let slots = Number(process.argv[2]); slots > 0; slots -= 10) {
  const consumer = Consumer.create({
    queueUrl: process.env.QUEUE_URL,
    batchSize: Math.min(slots, 10),
    handleMessage: async (message) => {
      await run(message.Body);
      return message;
    },
  });
  for (const event of ["error", "processing_error", "timeout_error"]) {
    consumer.on(event, (fault) => console.error(fault.message));
  }
  consumer.start();
}
