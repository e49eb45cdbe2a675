"""Starts a plugin as Terraform does, several times, and prints what could be seen of it."""

import base64
import datetime
import json
import os
import select
import signal
import subprocess
import sys
import threading

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

COOKIE = "d602bf8f470bc67ca7faa0386276bbdd4330efaf76d1a219cb4d6991ca9872b2"
# Nothing takes as long; where something hangs, the test ends all the same.
WAIT = 120


def own_certificate():
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now, day = datetime.datetime.now(datetime.timezone.utc), datetime.timedelta(days=1)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now - day).not_valid_after(now + day)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return builder.sign(key, hashes.SHA256()).public_bytes(pem), private


CERTIFICATE, KEY = own_certificate()


class Plugin:
    def __init__(self, command, cookie=COOKIE):
        # The host's certificate, and once more as the only one that this plugin is to accept.
        env = {"PLUGIN_CLIENT_CERT": CERTIFICATE.decode(), "PLUGIN_CLIENT_ROOT_CERTS": CERTIFICATE.decode()}
        if cookie is not None:
            env["TF_PLUGIN_MAGIC_COOKIE"] = cookie
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            command, env={**os.environ, **env}, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe
        )
        # It may say more than a pipe holds.
        self.said = b""
        self.reader = threading.Thread(target=self.listen, daemon=True)
        self.reader.start()
        self.socket = None

    def listen(self):
        self.said = self.process.stderr.read()

    def handshake(self):
        assert select.select([self.process.stdout], [], [], WAIT)[0], "no line came"
        core, app, network, self.socket, protocol, certificate = self.process.stdout.readline().decode().split("|")
        server = x509.load_der_x509_certificate(base64.b64decode(certificate.strip() + "=="))
        self.server = server.public_bytes(serialization.Encoding.PEM)
        return [core, app, network, protocol, os.path.exists(self.socket)]

    def call(self, method, message, **own):
        credentials = grpc.ssl_channel_credentials(root_certificates=self.server, **own)
        options = [("grpc.ssl_target_name_override", "localhost"), ("grpc.default_authority", "localhost")]
        with grpc.secure_channel("unix:" + self.socket, credentials, options) as channel:
            try:
                return channel.unary_unary(method)(message, timeout=WAIT).hex()
            except grpc.RpcError as error:
                return str(error.code())

    def health(self, **own):
        return self.call("/grpc.health.v1.Health/Check", b"\n\x06plugin", **own)

    def end(self):
        code = self.process.wait(WAIT)
        self.reader.join(WAIT)
        rest = self.process.stdout.read().decode()
        return {"code": code, "more on stdout": rest, "socket": self.socket is not None and os.path.exists(self.socket)}

    def reason(self):
        return self.said.decode().strip().splitlines()[-1]


def observe(command):
    own = {"private_key": KEY, "certificate_chain": CERTIFICATE}
    shut, signalled = Plugin(command), Plugin(command)
    uncalled, foreign = Plugin(command, None), Plugin(command, "another")
    told = {"line": shut.handshake(), "health": shut.health(**own), "health without certificate": shut.health()}
    told["shutdown"] = shut.call("/plugin.GRPCController/Shutdown", b"", **own)
    signalled.handshake()
    signalled.process.send_signal(signal.SIGINT)
    told["health after SIGINT"] = signalled.health(**own)
    signalled.process.send_signal(signal.SIGTERM)
    told["shut down"], told["terminated"] = shut.end(), signalled.end()
    told["without cookie"], told["with another cookie"] = uncalled.end(), foreign.end()
    told["reasons"] = [uncalled.reason(), foreign.reason()]
    told["the launcher spoke"] = any(b"pspf: " in plugin.said for plugin in (shut, signalled, uncalled, foreign))
    return told


if __name__ == "__main__":
    print(json.dumps(observe(sys.argv[1:])))
