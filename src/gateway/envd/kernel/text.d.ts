/** Programs for guests, which are text to this one. */
declare module "*.py" {
  const text: string;
  export default text;
}
declare module "*.js.txt" {
  const text: string;
  export default text;
}
