/** A network of a pool's own: machines in it reach nothing but what a policy lets them reach. */

/** What one machine may reach. Lists are CIDR blocks or single addresses; allow goes before deny. */
export interface EgressPolicy {
  readonly allowInternetAccess: boolean;
  readonly allowOut: readonly string[];
  readonly denyOut: readonly string[];
}

export interface BridgeSpec {
  /** Of the pool: letters, digits, `-`. Names of interfaces and namespaces are made from it. */
  readonly pool: string;
  /** "10.77.0.0/24": the first address is the bridge's. */
  readonly subnet: string;
}

export interface Port {
  /** Of the tap. */
  readonly interface: string;
  readonly mac: string;
  readonly address: string;
}

export interface BridgeNetwork {
  /** Words before a command that is to run inside: `ip netns exec NAME`. */
  readonly through: readonly string[];
  /** A tap on the bridge, down and isolated from the others; `up` when its machine has its own address. Idempotent. */
  addPort(port: Port): Promise<void>;
  up(port: Port): Promise<void>;
  /** Takes effect at once, established connections included. */
  setPolicy(port: Port, policy: EgressPolicy): Promise<void>;
  removePort(port: Pick<Port, "interface">): Promise<void>;
  /** Names of the taps there are. */
  ports(): Promise<readonly string[]>;
  /** Everything of it, whatever state it is in. */
  remove(): Promise<void>;
}
