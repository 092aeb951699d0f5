// All that needs a server, in one process: `KERWEN_TEST_URL=… node --import ./test/ts.mjs test/engine/live.ts`.

import "./live_story.test.ts";
import "./live_cuts.test.ts";
import "./live_rounds.test.ts";
