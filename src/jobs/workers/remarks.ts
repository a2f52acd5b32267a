/** What a child process prints, on its way to the log: cut to a bearable length and number, for a process that is out of its mind prints without end. */

/** So much of a line is passed on, in characters. */
const LONGEST = 2000;
/** So many lines are passed on in a window of so many ms. */
const MOST = 100;
const WINDOW = 10_000;

/** Returns what takes the lines. The first line of a new window is preceded by how many of the last were left out. */
export function remarks(log: (text: string) => void, now = () => performance.now()): (line: string) => void {
  let began = -Infinity;
  let passed = 0;
  return (line) => {
    if (now() - began >= WINDOW) {
      if (passed > MOST) log(`${passed - MOST} lines were left out`);
      [began, passed] = [now(), 0];
    }
    if (++passed <= MOST) log(line.slice(0, LONGEST));
  };
}
