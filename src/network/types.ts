/** A network of a pool's own: machines in it reach nothing but what a policy lets them reach. */

/** What one machine may reach. Lists are CIDR blocks or single addresses; allow goes before deny. */
export interface EgressPolicy {
  /** Every public address, but for what `denyOut` names. */
  readonly allowInternetAccess: boolean;
  readonly allowOut: readonly string[];
  readonly denyOut: readonly string[];
}

export interface BridgeSpec {
  /** Of the pool: letters, digits, `-`. Names of interfaces and namespaces are made from it. */
  readonly pool: string;
  /** "10.77.0.0/24": the first address is the bridge's. */
  readonly subnet: string;
  /** Tells pools of one name in several roots apart: the root's directory. Default: "", the system's own. */
  readonly realm?: string;
  /** Name servers that every machine of the pool may ask, whatever its policy. Default: none, and then there is no DNS. */
  readonly dns?: readonly string[];
  /** Private and otherwise reserved blocks that an `allowOut` may open, which it cannot otherwise. Default: none. */
  readonly reachable?: readonly string[];
  /** The network namespace through which machines reach what they may reach. Default: the host's. */
  readonly uplink?: { readonly namespace: string };
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
  /**
   * A tap on the bridge, down and isolated from the others, that reaches nothing; `up` when its machine has its own address. Idempotent;
   * with another address or MAC it is the port of another machine, and what the former one was allowed is gone.
   * @throws Problem E_NEEDS_ROOT (exit 3), E_BAD_PORT (exit 2), E_PORT_CLASH, E_NETWORK_CHANGED
   */
  addPort(port: Port): Promise<void>;
  up(port: Port): Promise<void>;
  /**
   * Takes effect at once: connections that are not allowed any more are reset, the others go on.
   * @throws Problem E_BAD_POLICY (exit 2), E_NO_FORWARDING (exit 3)
   */
  setPolicy(port: Port, policy: EgressPolicy): Promise<void>;
  /** Nothing there is fine. */
  removePort(port: Pick<Port, "interface">): Promise<void>;
  /** Names of the taps there are. */
  ports(): Promise<readonly string[]>;
  /** Everything of it, whatever state it is in. The names of `spec` are enough to find it. */
  remove(): Promise<void>;
}
