/** The second half of the test without root: everything is as it should be, can be shared, and goes away. */
import { openTestStore } from "./testing.ts";

const [root = ""] = process.argv.slice(2);
using test = openTestStore({ root });
const { store } = test;
store.recover();
const { checked, damage } = await store.verify({ repair: false, contents: true });
if (checked === 0 || damage.length > 0) throw new Error(JSON.stringify(damage));
await store.optimise();
const linked = await store.verify({ repair: false, contents: true });
if (linked.damage.length > 0) throw new Error(JSON.stringify(linked.damage));
const { removed } = await store.gc({});
if (removed.length !== checked) throw new Error(`${removed.length} of ${checked} removed`);
