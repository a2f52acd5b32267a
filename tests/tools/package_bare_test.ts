/**
 * The package on a bare Debian 12: a root folder as debootstrap makes it, without network, Node or Deno, once with and once without Vulkan drivers. Slow, and needs
 * root, debootstrap and Debian's mirror (apt's own) for the first run; the two folders are kept in .tools/bare. Where that is not to be had, it says so and is skipped.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { root } from "../../tools/assets.ts";
import { buildPackage } from "../../tools/package.ts";

const bare = join(root, ".tools/bare");
const decode = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

async function shell(script: string, args: readonly string[] = []) {
  const { code, stdout, stderr } = await new Deno.Command("sh", { args: ["-euc", script, "sh", ...args] }).output();
  return { code, out: decode(stdout), err: decode(stderr) };
}

/** Why the test cannot run here, or null. */
async function obstacle(): Promise<string | null> {
  const { code, out } = await shell(
    `
    [ "$(id -u)" = 0 ] || { echo "only root can make a bare system"; exit 1; }
    PATH=$PATH:/usr/sbin:/sbin
    unshare --net --mount --pid --fork true 2>/dev/null || { echo "this machine does not let unshare take the network away"; exit 1; }
    [ "$(uname -sm)" = "Linux x86_64" ] || { echo "the package is for Linux on x86-64"; exit 1; }
    [ ! -d "$1/vulkan" ] || exit 0
    command -v debootstrap >/dev/null || { echo "debootstrap is not installed"; exit 1; }`,
    [bare],
  );
  return code === 0 ? null : out.trim();
}

/** Makes the two roots, if they are not there yet: as debootstrap leaves it, and with drivers. */
const make = `
  PATH=$PATH:/usr/sbin:/sbin
  mkdir -p "$1" && cd "$1"
  if [ ! -d plain ]; then
    mirror=$(apt-get indextargets --format '$(RELEASE) $(REPO_URI)' 'Created-By: Packages' | awk '$1 == "bookworm" { print $2; exit }')
    [ "$mirror" ] || { echo "apt knows no mirror of Debian 12: apt-get update would tell it" >&2; exit 1; }
    rm -rf plain.part
    debootstrap --variant=minbase bookworm plain.part "$mirror" >&2
    rm -rf plain.part/var/cache/apt/archives/*.deb
    mv plain.part plain
  fi
  if [ ! -d vulkan ]; then
    rm -rf vulkan.part
    cp -a plain vulkan.part
    DEBIAN_FRONTEND=noninteractive chroot vulkan.part apt-get install -qq -y --no-install-recommends mesa-vulkan-drivers libvulkan1 >&2
    mv vulkan.part vulkan
  fi
  for name in plain vulkan; do
    mkdir -p "$name/root/work"
    cp splice-linux-x64 "$name/root/work/splice"
  done`;

/** As it was; but the drivers' cache of compiled kernels stays: it saves half a minute. */
const clean = `
  cd "$1"
  for name in plain vulkan; do rm -rf "$name/root/.cache/splice" "$name/root/.local" "$name/root/work"; done
  rm -f splice-linux-x64`;

/** Runs a script of bash in one of the roots, in /root/work, with nothing of this machine around it: no environment, no processes, no network but its own loopback. */
async function inside(name: "plain" | "vulkan", script: string) {
  const loopback = `perl -e 'socket(S, 2, 2, 0); ioctl(S, 0x8914, my $up = pack("a16 s x14", "lo", 0x49)) or die $!'`;
  const { code, out, err } = await shell(
    `PATH=$PATH:/usr/sbin:/sbin
    exec unshare --net --mount --pid --fork --kill-child --mount-proc="$1/proc" \\
      env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin NO_COLOR=1 chroot "$1" bash -uc "$2"`,
    [join(bare, name), `${loopback}; cd /root/work; ${script}`],
  );
  return { code, out, err, all: `exit code ${code}\n${out}${err}` };
}

/** What asks the server, with the Deno that the package brought. Prints what it saw, as JSON. */
const client = `
const at = Deno.args[0];
async function ready() {
  for (;;) {
    const answer = await fetch(at + "readyz");
    await answer.body?.cancel();
    if (answer.ok) return answer.status;
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}
const health = await fetch(at + "healthz");
const page = await fetch(at);
const form = new FormData();
for (const [name, file] of [["structure", "picos-de-europa"], ["appearance", "sunset"]]) {
  form.append(name, new Blob([await Deno.readFile(Deno.args[1] + "/examples/" + file + ".jpg")]), file + ".jpg");
}
form.append("preset", "quick");
form.append("steps", "3");
const answer = await ready().then(() => fetch(at + "v1/splice", { method: "POST", body: form }));
console.log(JSON.stringify({
  health: [health.status, (await health.text()).length > 0],
  page: [page.status, page.headers.get("content-type"), (await page.text()).includes("<script")],
  result: [answer.status, answer.headers.get("content-type"), (await answer.bytes()).length > 5000],
}));`;

const why = await obstacle();
if (why !== null) console.log(`package_bare_test: skipped, ${why}`);

Deno.test({ name: "package: a bare Debian 12, offline", ignore: why !== null }, async (t) => {
  await Deno.mkdir(bare, { recursive: true });
  await shell(clean, [bare]);
  const bytes = await buildPackage(join(bare, "splice-linux-x64"));
  assert.ok(bytes < 60e6, `the package is small: ${bytes}`);
  const made = await shell(make, [bare]);
  assert.equal(made.code, 0, made.err);

  await t.step("there is nothing but Debian", async () => {
    for (const name of ["plain", "vulkan"] as const) {
      const { code, all } = await inside(
        name,
        `for tool in deno node npm curl wget; do ! command -v $tool || exit 1; done
        [ "$(grep -c : /proc/net/dev)" = 1 ] && ! (: </dev/tcp/192.0.2.1/80) 2>/dev/null`,
      );
      assert.equal(code, 0, all);
    }
  });

  await t.step("without drivers it says what to install, and does what needs none", async () => {
    const doctor = await inside("plain", "./splice doctor");
    assert.equal(doctor.code, 1, doctor.all);
    assert.match(doctor.err, /splice: unpacking [\d.]+ into \/root\/\.cache\/splice \(once, \d+ MB\)\n/);
    assert.match(
      doctor.err,
      /splice: no Vulkan driver found\. .*: sudo apt-get install mesa-vulkan-drivers libvulkan1\n/,
    );
    assert.match(doctor.out, /FAIL {2}adapter .*no WebGPU adapter was found/);
    assert.match(doctor.out, /ok {4}model {5}splice-tiny8: .*checksum right/);
    const version = await inside("plain", "./splice --version");
    assert.deepEqual([version.code, version.err], [0, ""], version.all);
    assert.match(version.out, /^\d+\.\d+\.\d+\n$/);
  });

  await t.step("a full disk is said, and nothing is left", async () => {
    const full = await inside(
      "plain",
      `mkdir small && mount -t tmpfs -o size=20m tmpfs small && XDG_CACHE_HOME=$PWD/small ./splice help
      code=$?; ls -A small/splice; exit $code`,
    );
    assert.equal(full.code, 1, full.all);
    assert.equal(full.out, "");
    assert.match(
      full.err,
      /Cannot unpack into \/root\/work\/small\/splice: it is full\. \d+ MB are needed: make room there, or set XDG_CACHE_HOME/,
    );
  });

  await t.step("an interrupted first start leaves nothing, and the next one works", async () => {
    const killed = await inside(
      "plain",
      `export XDG_CACHE_HOME=$PWD/cache
      ./splice help & until ls cache/splice/.unpack.*/deno; do :; done >/dev/null 2>&1
      kill -TERM $!; wait $!; echo "code $?"; ls -A cache/splice; ./splice help | head -n 1`,
    );
    assert.equal(killed.code, 0, killed.all);
    assert.equal(killed.out, "code 143\nUsage: splice [options] [command]\n", killed.all);
  });

  await t.step("doctor and demo", async () => {
    const { code, out, all } = await inside(
      "vulkan",
      "./splice doctor && ./splice demo --steps 5 --out picture.png && head -c 8 picture.png | od -An -c && wc -c <picture.png",
    );
    assert.equal(code, 0, all);
    assert.match(out, /Training works here\.\n/);
    assert.match(out, /\/root\/work\/picture\.png is done/);
    assert.match(out, /211 {3}P {3}N {3}G/);
    assert.ok(Number(out.trim().split("\n").at(-1)) > 5000, out);
  });

  await t.step("serve: health, the page, a job; SIGTERM ends it well", async () => {
    await Deno.writeTextFile(join(bare, "vulkan/root/work/client.js"), client);
    const { code, out, all } = await inside(
      "vulkan",
      `mkfifo said; ./splice serve --port 0 --data data >said & server=$!
      exec 3<said; read -r line <&3; at=\${line##* }; host=\${at#http://}; host=\${host%/}
      exec 4<>/dev/tcp/\${host%:*}/\${host#*:}
      printf 'GET /healthz HTTP/1.0\\r\\nConnection: close\\r\\n\\r\\n' >&4; head -n 1 <&4
      home=$(echo /root/.cache/splice/????????????????)
      "$home/deno" run --no-config --no-lock --no-prompt --allow-net=\$host --allow-read=$home client.js "$at" "$home"
      kill -TERM $server; wait $server`,
    );
    assert.equal(code, 0, all);
    const [status, seen] = out.split("\n");
    assert.match(status, /^HTTP\/1\.[01] 200 /, all);
    assert.deepEqual(JSON.parse(seen), {
      health: [200, true],
      page: [200, "text/html; charset=utf-8", true],
      result: [200, "image/png", true],
    }, all);
  });
  await shell(clean, [bare]);
});
