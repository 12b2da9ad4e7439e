/**
 * daemon: the only door that listens. Whoever has something to serve brings a handler from requests to responses.
 *
 * Limits: HTTP without TLS; put a server such as nginx in front where that is wanted (`garth repo nginx-conf`).
 */
export { listen, type Listener, type ListenRequest } from "./listen.ts";
