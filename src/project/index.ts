/**
 * project: a project file, loaded. Everything it exports becomes a value by its kind; a reference `FILE#NAME` picks one.
 *
 *    find the file ──► read and hash its sources ──┬─► evaluate ────────────────┬─► classify exports ──► Project ──projectGraph──► Graph
 *                                                  └─► type check (or it is known)┘
 *
 * The file is evaluated by the running program and gets that program's own module as "garth". Whatever goes wrong is told with file
 * and line: a syntax error, a missing import, an exception, a field that a constructor refuses, types that do not fit. An evaluation
 * that fails cancels the type check, except where the types say more than the exception does.
 *
 * Limits: a process loads a file once. A repository whose entries are not recipes is not an export.
 */
export { type Goal, type Goals, graphWithKeys, resolveGoals } from "./goals.ts";
export { loadProject } from "./load.ts";
export { buildablesOf, exportNamed, parseReference, projectGraph } from "./reference.ts";
export type { LoadRequest, Project, ProjectExport, Reference } from "./types.ts";
