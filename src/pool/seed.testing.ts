/** A machine's identity for tests. The keys were made for this file and open nothing. */
import type { SeedFields } from "./seed.ts";

export const SEED_PRIVATE_KEY = `-----BEGIN OPENSSH PRIVATE KEY-----
b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZW
QyNTUxOQAAACBJVzSAEaEcjwmzpIB8DUiXXCU0dZCJcnb4L1+LQCM/sgAAAJDQvbs+0L27
PgAAAAtzc2gtZWQyNTUxOQAAACBJVzSAEaEcjwmzpIB8DUiXXCU0dZCJcnb4L1+LQCM/sg
AAAEBkrBLeyTxj10Zc7joRxle5Z6bIChqdrbYZv8IxQhkbj0lXNIARoRyPCbOkgHwNSJdc
JTR1kIlydvgvX4tAIz+yAAAACWEgbWFjaGluZQECAwQ=
-----END OPENSSH PRIVATE KEY-----
`;

export const SEED: SeedFields = {
  instanceId: "debian-12-17",
  hostname: "debian-12-17",
  address: "10.77.0.50",
  prefixLength: 24,
  gateway: "10.77.0.1",
  nameServers: ["10.77.0.3", "9.9.9.9"],
  mac: "52:54:00:0A:4D:32",
  user: "agent",
  authorizedKey: "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAINrXAsCyIOb6FrkKlNPR5vNoRaahpA1TB8ypqRBYGFaF somebody's pool",
  hostKey: {
    privateKey: SEED_PRIVATE_KEY,
    publicKey: "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIElXNIARoRyPCbOkgHwNSJdcJTR1kIlydvgvX4tAIz+y root@o'hara, a machine",
  },
};
