// A task as its page shows it.

import type { Schemas } from "../../lib/api";

export type Task = Schemas["TaskView"];
export type Inventory = Schemas["Inventory"];
export type HardwareChange = Schemas["HardwareChange"];
