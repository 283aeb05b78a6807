import type { Command } from "commander";
import { addCloudsCommand } from "./clouds.ts";
import type { CommandContext } from "./command.ts";
import { addDemoCommand } from "./demo/demo.ts";
import { addProjectCommand, addRoleCommand, addUserCommand } from "./identity.ts";
import { addExplainCommand } from "./explain.ts";
import { addChangesCommand, addExtentsCommand } from "./maps.ts";
import { addOperationsCommand } from "./operations.ts";
import { addPlanCommand } from "./plan.ts";
import { addPoolCommand } from "./pool.ts";
import { addPoolsCommand } from "./pools.ts";

/** Every command that speaks to a running Mica. */
export function addClientCommands(program: Command, context: CommandContext): void {
  addDemoCommand(program, context);
  addPlanCommand(program, context);
  addExplainCommand(program, context);
  addOperationsCommand(program, context);
  addExtentsCommand(program, context);
  addChangesCommand(program, context);
  addPoolsCommand(program, context);
  addPoolCommand(program, context);
  addCloudsCommand(program, context);
  addProjectCommand(program, context);
  addUserCommand(program, context);
  addRoleCommand(program, context);
}
