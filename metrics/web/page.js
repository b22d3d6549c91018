"use strict";
// Asks for the page again every two seconds, and changes what differs. What people have opened, selected or
// reached by keyboard stays as it is: an element with an id is the same element in the next page.
{
  const every = 2000;
  const note = document.getElementById("note"), button = document.getElementById("pause");
  let paused = false, answered = Date.now(), board = document.getElementById("board"), process = board.dataset.process, moved = "";

  const morph = (old, fresh) => {
    if (old.isEqualNode(fresh)) return;
    if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName || old.id !== fresh.id) return old.replaceWith(fresh);
    if (old.nodeType !== Node.ELEMENT_NODE) { old.data = fresh.data; return; }
    for (const a of [...old.attributes]) if (a.name !== "open" && !fresh.hasAttribute(a.name)) old.removeAttribute(a.name);
    for (const a of fresh.attributes) if (old.getAttribute(a.name) !== a.value) old.setAttribute(a.name, a.value);
    const ids = new Set([...fresh.children].map((c) => c.id));
    for (const c of [...old.children]) if (c.id && !ids.has(c.id)) c.remove();
    let at = old.firstChild;
    for (const child of [...fresh.childNodes]) {
      const same = child.id ? [...old.children].find((c) => c.id === child.id) : at && !at.id && at;
      while (same && at !== same && at && !at.id) { const next = at.nextSibling; at.remove(); at = next; }
      if (!same) old.insertBefore(child, at);
      else if (same === at) { at = at.nextSibling; morph(same, child); }
      else { (old.moveBefore || old.insertBefore).call(old, same, at); morph(same, child); }
    }
    while (at) { const next = at.nextSibling; at.remove(); at = next; }
  };
  const say = (text) => { if (note.textContent !== text) note.textContent = text; note.hidden = !text; };
  const update = async () => {
    if (paused || document.hidden) return;
    try {
      const answer = await fetch(location.href, { signal: AbortSignal.timeout(5000) });
      if (!answer.ok) throw new Error(answer.status);
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      if (paused) return;
      const next = fresh.getElementById("board");
      if (process && next.dataset.process && next.dataset.process !== process) moved = `Since ${next.dataset.clock} UTC another Bellboard process answers. Its history is its own.`;
      process = next.dataset.process || process;
      document.title = fresh.title;
      morph(board, next);
      answered = Date.now();
      say(moved);
    } catch {
      say(`Bellboard has not answered for ${Math.round((Date.now() - answered) / 1000)} s. The page shows ${board.dataset.clock} UTC.`);
    }
  };
  button.hidden = false;
  button.onclick = () => {
    paused = !paused;
    button.textContent = paused ? "Resume" : "Pause";
    say(paused ? `Paused: the page shows ${board.dataset.clock} UTC.` : moved);
    update();
  };
  (function again() { setTimeout(() => update().finally(again), every); })();
}
