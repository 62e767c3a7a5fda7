// The same page in the other language, beside the printer.
(() => {
    const chinese = document.documentElement.lang.startsWith('zh');
    const root = new URL(path_to_root || './', document.baseURI);
    const home = chinese ? new URL('../', root) : root;
    const here = document.URL.split('#')[0].slice(root.href.length) || 'index.html';
    const link = document.createElement('a');
    link.href = home.href + (chinese ? here : 'zh-CN/' + here);
    link.textContent = chinese ? 'English' : '中文';
    link.lang = chinese ? 'en' : 'zh-CN';
    link.className = 'language';
    document.querySelector('.right-buttons')?.prepend(link);
})();
