import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Progress } from "./progress.ts";
import { Terminal } from "./terminal.ts";
import { formatDuration, formatPercent, formatRate } from "./words.ts";

function record(isTTY: boolean, env: Record<string, string> = {}) {
  const written: string[] = [];
  const sink = { isTTY, write: (text: string) => written.push(text) };
  return { terminal: new Terminal(sink, sink, env), text: () => written.join("") };
}

describe("Terminal", () => {
  it("aligns columns by their widest cell, numbers to the right", () => {
    const { terminal, text } = record(false);
    terminal.table(
      ["NAME", ">SIZE"],
      [
        ["a", "1 GiB"],
        ["longer", "12 MiB"],
      ],
    );
    assert.equal(text(), "NAME      SIZE\na        1 GiB\nlonger  12 MiB\n");
  });

  it("leaves out facts that there are not, and indents lines that follow", () => {
    const { terminal, text } = record(false);
    terminal.facts({ Way: "clone", Nothing: undefined, Steps: "a\nb" });
    assert.equal(text(), "Way    clone\nSteps  a\n       b\n");
  });

  it("breaks long facts between words where somebody looks, and nowhere else", () => {
    const long = "word ".repeat(20).trim();
    const live = record(true, { NO_COLOR: "1" });
    live.terminal.facts({ Way: long });
    assert.deepEqual(
      live
        .text()
        .trimEnd()
        .split("\n")
        .map((line) => line.length <= 80),
      [true, true],
    );
    const piped = record(false);
    piped.terminal.facts({ Way: long });
    assert.equal(piped.text(), `Way  ${long}\n`);
  });

  it("colours for people only, and not where NO_COLOR is set", () => {
    assert.equal(record(false).terminal.style("red", "x"), "x");
    assert.equal(record(true, { NO_COLOR: "1" }).terminal.style("red", "x"), "x");
    assert.equal(record(true).terminal.style("red", "x"), "\u001b[31mx\u001b[39m");
  });
});

describe("Progress", () => {
  it("writes a line per tenth where nobody looks", () => {
    const { terminal, text } = record(false);
    const progress = new Progress(terminal, undefined, () => 0);
    for (let percent = 0; percent <= 100; percent++) progress.show("copy", percent / 100);
    const lines = text().trimEnd().split("\n");
    assert.deepEqual([lines.length, lines[0], lines.at(-1)], [11, "copy  0 %", "copy  100 %"]);
  });

  it("draws a bar with rate and time left on a terminal", () => {
    const { terminal, text } = record(true);
    let nowMs = 0;
    const progress = new Progress(terminal, 100 * 1024 * 1024, () => nowMs);
    nowMs = 2000;
    progress.show("copy", 0.5);
    assert.match(text(), /copy {2}█{12}░{12} {2}50 % {2}50 MiB of 100 MiB {2}25 MiB\/s {2}2\.0 s left/);
  });
});

it("Progress does not redraw more often than anybody sees", () => {
  const { terminal, text } = record(true);
  let nowMs = 0;
  const progress = new Progress(terminal, undefined, () => nowMs);
  for (; nowMs < 1000; nowMs++) progress.show("copy", nowMs / 1001);
  assert.equal(text().split("\r").length - 1, 10);
});

it("formats times and rates for people", () => {
  assert.deepEqual([85, 1400, 125_000, 3 * 3_600_000 + 600_000].map(formatDuration), ["85 ms", "1.4 s", "2:05 min", "3:10 h"]);
  assert.deepEqual([formatRate(1024 * 1024, 500), formatRate(0, 0), formatPercent(0.999)], ["2 MiB/s", "0 B/s", "99 %"]);
});
