import { connect } from "@nats-io/transport-node";

const servers = process.env.GLANCE_NATS_URL ?? "nats://127.0.0.1:4222";
const broker = await connect({ servers });
await broker.request("glance.main.0.state", "online");
await broker.close();
