#!/usr/bin/env python3
"""An object store behind HTTPS: whom the client trusts, and that nothing panics where two crypto libraries are linked in.

A proxy that ends TLS stands before the real S3 server; its certificate is signed by nobody.
"""
import os
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from urllib.parse import urlparse

BACKSIGHT = os.environ["BACKSIGHT"]
BUCKET = os.environ["BACKSIGHT_TEST_BUCKET"]
UNREACHABLE = 6


def certificate(folder):
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE"]
    command += ["-keyout", folder / "key.pem", "-out", folder / "cert.pem"]
    subprocess.run(command, check=True, capture_output=True)
    return folder / "cert.pem", folder / "key.pem"


def copy(source, target):
    try:
        while data := source.recv(1 << 16):
            target.sendall(data)
    except OSError:
        pass
    finally:
        for end in (source, target):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


def serve(listener, context, upstream):
    while True:
        plain, _ = listener.accept()
        threading.Thread(target=connect, args=(plain, context, upstream), daemon=True).start()


def connect(plain, context, upstream):
    try:
        client = context.wrap_socket(plain, server_side=True)
        server = socket.create_connection(upstream)
    except OSError:
        plain.close()
        return
    threading.Thread(target=copy, args=(client, server), daemon=True).start()
    copy(server, client)


def main():
    plain = urlparse(os.environ["AWS_ENDPOINT_URL"])
    with tempfile.TemporaryDirectory(prefix="backsight-tls-") as folder:
        work = Path(folder)
        cert, key = certificate(work)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert, key)
        listener = socket.create_server(("127.0.0.1", 0))
        upstream = (plain.hostname, plain.port)
        threading.Thread(target=serve, args=(listener, context, upstream), daemon=True).start()
        endpoint = f"https://127.0.0.1:{listener.getsockname()[1]}"
        (work / "e.yaml").write_text("kind: Entity\nname: e\njoin_keys: [k]\n")
        variables = {
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_ACCESS_KEY_ID": os.environ["AWS_ACCESS_KEY_ID"],
            "AWS_SECRET_ACCESS_KEY": os.environ["AWS_SECRET_ACCESS_KEY"],
            "HOME": folder,
        }

        def apply(project, status, **trust):
            yaml = f"project: {project}\nregistry: s3://{BUCKET}/tls/registry.pb\n"
            (work / "feature_store.yaml").write_text(yaml)
            command = [BACKSIGHT, "apply", "--yes"]
            environment = {**variables, **{name: str(value) for name, value in trust.items()}}
            run = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True, timeout=180)
            said = f"{trust}: exit {run.returncode}\n{run.stdout}{run.stderr}"
            assert run.returncode == status and "panicked" not in run.stderr, said
            return run.stderr

        said = apply("nobody", UNREACHABLE)
        assert "certificate" in said, said
        print(f"an unknown certificate: {said.strip().splitlines()[0]}")
        apply("by_bundle", 0, AWS_CA_BUNDLE=cert)
        apply("by_file", 0, SSL_CERT_FILE=cert)
        print("trusted through AWS_CA_BUNDLE and through SSL_CERT_FILE")
    return 0


if __name__ == "__main__":
    sys.exit(main())
