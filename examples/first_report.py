import asyncio, nats, os

async def main():
    broker = await nats.connect(os.environ.get("GLANCE_NATS_URL", "nats://127.0.0.1:4222"))
    await broker.request("glance.main.0.state", b"online")
    await broker.close()
asyncio.run(main())
