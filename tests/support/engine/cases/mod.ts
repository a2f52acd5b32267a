/** The cases of every op, by the op's name. */
import type { CaseTable } from "./case.ts";
import { elementwiseCases } from "./elementwise.ts";
import { movementCases } from "./movement.ts";
import { planeCases } from "./planes.ts";
import { productCases } from "./products.ts";
import { rowCases } from "./rows.ts";

export const cases: CaseTable = { ...elementwiseCases, ...movementCases, ...rowCases, ...productCases, ...planeCases };
