"use strict";
(() => {
  const twins = (name) => document.querySelectorAll('[data-s="' + name + '"]');
  const nameOf = (target) => {
    const element = target instanceof Element ? target.closest("[data-s], tr") : null;
    return element && element.dataset.s;
  };
  let lit = null;
  const light = (name) => {
    if (name === lit) return;
    if (lit) twins(lit).forEach((element) => element.classList.remove("on"));
    if (name) twins(name).forEach((element) => element.classList.add("on"));
    lit = name || null;
  };
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  const show = (element) => element.scrollIntoView({ block: "center", behavior: still.matches ? "auto" : "smooth" });
  document.addEventListener("mouseover", (event) => light(nameOf(event.target)));
  document.addEventListener("focusin", (event) => light(nameOf(event.target)));
  document.addEventListener("click", (event) => {
    const link = event.target instanceof Element && event.target.closest('a[href^="#r"], a[href^="#o"]');
    const target = link && !link.classList.contains("skip") && document.getElementById(link.hash.slice(1));
    if (!target) return;
    event.preventDefault();
    history.replaceState(null, "", link.hash);
    show(target);
    target.focus({ preventScroll: true });
    light(target.dataset.s);
  });
  const next = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
  document.addEventListener("keydown", (event) => {
    const step = next[event.key];
    const here = event.target instanceof Element && event.target.closest(".octets a");
    if (!step || !here) return;
    const other = step > 0 ? here.nextElementSibling : here.previousElementSibling;
    if (!other) return;
    event.preventDefault();
    other.focus();
  });
})();
