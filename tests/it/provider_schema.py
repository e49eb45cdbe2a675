"""Starts a provider by the client of pyvider-rpcplugin and prints what its schema holds."""

import asyncio
import hashlib
import json
import os
import sys

# Read when the library is loaded. A busy machine needs more than its ten seconds to start a program of this size.
os.environ["PLUGIN_HANDSHAKE_TIMEOUT"] = "60"

from pyvider.protocols.tfprotov6.protobuf import tfplugin6_pb2, tfplugin6_pb2_grpc
from pyvider.rpcplugin import RPCPluginClient

COOKIE = "d602bf8f470bc67ca7faa0386276bbdd4330efaf76d1a219cb4d6991ca9872b2"


async def main(command):
    async with RPCPluginClient(command=command, config={"env": {"TF_PLUGIN_MAGIC_COOKIE": COOKIE}}) as client:
        provider = tfplugin6_pb2_grpc.ProviderStub(client.grpc_channel)
        schema = await provider.GetProviderSchema(tfplugin6_pb2.GetProviderSchema.Request())
        content = schema.SerializeToString(deterministic=True)
    print(json.dumps({
        "resources": sorted(schema.resource_schemas),
        "functions": sorted(schema.functions),
        "sha256": hashlib.sha256(content).hexdigest(),
    }))


asyncio.run(main(sys.argv[1:]))
