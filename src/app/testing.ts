/** For tests of other rooms: templates that are real. */
export { type ExampleTemplate, garthWithTemplates } from "./templates.testing.ts";
