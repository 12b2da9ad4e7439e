/** What benchmarks keep between runs: stock Debian among it, which the tests of templates have too. */
import { KEPT, type StockDebian, stockDebian as stock } from "../src/template/stock.testing.ts";

export { KEPT };

export async function stockDebian(): Promise<StockDebian> {
  return await stock((text) => console.error(`bench: ${text}`));
}
