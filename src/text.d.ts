/** Programs for guests are files of their own, and become text in ours: `import text from "./it.py" with { type: "text" }`. */
declare module "*.py" {
  const text: string;
  export default text;
}
declare module "*.sh" {
  const text: string;
  export default text;
}
