"""What a language model says instead of an answer: refusals, remarks on the task, placeholders.

A pattern belongs here if it can hardly be part of a description of a picture: "I cannot describe
this" is a refusal, "I cannot see its feet" is none. `tests/describe/llm/cleaning/` has labelled
answers in seven languages, by which a change of these patterns is measured.
"""

import re
import unicodedata
from functools import cache

_IMAGE = r"(?:image|picture|photo|photograph|attachment|file)s?"
_NEEDED = (
    rf"(?:{_IMAGE}|information|context|details|access|ability|capabilit\w+|vision|knowledge|data)"
)
_TEXTS = (
    r"(?:descriptions|captions|sentences|answers|responses|phrases|statements|guidelines|examples|"
    r"visual features|questions)"
)
_ONE_TEXT = r"(?:description|caption|sentence|answer|response)"
_PEOPLE = r"(?:real |this |the |any |that |specific )*(?:person|people|individuals?)"
_TASK_VERB = (
    r"(?:describ\w+|provid\w+|generat\w+|assist|help(?! but\b| itself| my)|fulfil\w*|comply|answer|"
    r"creat\w+|produc\w+|list|listed|captions?|clarify|comment on|discuss|engage in|"
    rf"(?:identify|recogni[sz]e) {_PEOPLE}|writ(?:e|ing)\b(?! my)|say (?:what|how|any)|"
    r"do (?:that|this|so|it)\b)"
)
_IS_GIVEN = (
    r"(?:provided|attached|uploaded|given|supplied|included|shared|available|found|visible to)"
)

# Sentences that a language model says about itself or its task, by language. Texts are compared in
# lower case, with the marks of ASCII.
_ANYWHERE = {
    "English": (
        # of itself: "I'd be happy to help", "I cannot describe", "I do not have access"
        rf"\b(?:i|we)(?:'[a-z]+)? (?:[\w']+ ){{0,4}}?(?<!would ){_TASK_VERB}",
        rf"\bi (?:[\w']+ ){{0,2}}?(?:needs?|requires?|lack)\b (?:[\w']+ ){{0,6}}?{_NEEDED}\b",
        rf"\bi(?:'[a-z]+)? (?:[\w']+ )?(?:cannot|can't|don't|not|no|never|haven't|unable)\b"
        rf" (?:[\w']+ ){{0,4}}?{_NEEDED}\b",
        r"\bi(?:'m| am) (?:just |only |an? )*(?:ai|artificial|large language|language model|"
        r"text-based|designed to|trained)\b(?!-)",
        r"\bas an? (?:ai|artificial intelligence|(?:large )?language model|text-based)\b(?!-)",
        r"\bi(?:'m| am| do)(?: not|n't) (?:feel |quite |entirely )*(?:sure|familiar|aware|certain|"
        r"comfortable)\b|\bi(?:'m| am) un(?:sure|familiar|aware|certain|comfortable)\b|\bi"
        r" (?:do not|don't|cannot|can't|could not|couldn't) (?:know|find)\b",
        r"\bi (?:must |have to |will )?(?:decline|refuse)\b|\bi apologi[sz]e\b|\bno idea\b",
        r"\bmy (?:training|knowledge|guidelines|programming|purpose|answers|responses)\b",
        r"\bi (?:hope|trust) (?:this|that|these|it|they|you) (?:\w+ )*(?:helps?|helpful|useful|"
        r"clear|your|find)\b|\bhopes? (?:this|that|these|it) helps?\b",
        # to the user
        r"\b(?:if|do|did|what|which|whether|when|as) you(?:'d)? (?:\w+ )?(?:want|need|mean|"
        r"requested|asked|"
        r"like (?:me|to know)|have (?:any|more|other))\b|\bwould you like (?:me|to|more)\b",
        r"\byou (?:forgot|requested|asked (?:for|me))\b|\byour (?:request|question|query|prompt)\b",
        r"\b(?:can|may|shall|should|could) i (?:help|assist|go on|continue|write)\b|"
        r"\blet me know\b",
        r"\b(?:feel free|(?:don't|do not) hesitate)\b|\b(?:any|other|further|more) questions\b",
        r"\bthank(?:s| you) for (?:your|asking|the question|providing|sharing)\b",
        r"\bthe user(?:'s)? (?:ask|want|request|need|said|is asking|provide|gave|question)",
        # what is missing
        rf"\bno (?:such )?(?:{_IMAGE}|description|answer|caption|information|context)"
        rf" (?:(?:is|was|were|has|been|here) )*{_IS_GIVEN}\b",
        rf"\b(?:is|are|was|seems|appears) no {_IMAGE}(?:[.!]|$| (?:here|to|in (?:our|your|this)\b|"
        rf"{_IS_GIVEN}))|\bno {_IMAGE} (?:\w+ )?{_IS_GIVEN}\b",
        rf"\b{_IMAGE} (?:[\w']+ ){{0,3}}?(?:not|wasn't|isn't) (?:been )?{_IS_GIVEN}\b",
        r"\benough (?:information|context|details?)\b|\bwithout (?:an?|any|more|the|further) "
        rf"(?:{_IMAGE}|context|information)\b",
        # of its task
        r"\b(?:not|im|in|wrong)(?:n't)? ?(?:possible|appropriate|right)(?: for me)? to (?:describe|"
        r"provide|say|answer|identify|generate|write|discuss)\b",
        r"\b(?:content|usage|safety|our|my) (?:policy|policies|guidelines|filter\w*)\b|"
        r"\bagainst (?:the )?(?:policy|policies|guidelines)\b",
        r"\b(?:\d+|two|three|four|five|six|seven|eight|nine|ten|some|several|possible|general|"
        r"these|"
        rf"the following|all|my|list of|of) (?:(?:\w+|\d+),? ){{0,3}}?{_TEXTS}(?:[.:!]|$| (?:are|"
        rf"is|follow|"
        r"cover|for|of|about|on|in|above|below|that|you|should|may|as|describ\w+|with)\b)",
        rf"\b{_TEXTS} (?:above|below|listed)\b|\bthe following {_TEXTS}",
        rf"\beach (?:{_ONE_TEXT} (?:is|should|must|has|contains|describes|covers|starts|names|"
        rf"different)|(?:one )?(?:short|different))\b",
        r"\bjson\b|\bin this response\b|\bnumber of answers\b|\bambiguous\b",
    ),
    "German": (
        r"\bich (?:bin|habe|kann|darf)\b.{0,40}\b(?:ki\b|ki-|sprachmodell|zugriff|informationen|"
        r"fähigkeit|helfen|beschreiben|beantworten|bilde?r? (?:nicht )?sehen|nichts sagen)",
        r"\bkann (?:ich )?(?:\w+ ){0,4}(?:helfen|beschreiben|beantworten|sehen\b(?=\.)|"
        r"nichts sagen)",
        r"\bals (?:ki|künstliche intelligenz|(?:großes )?sprachmodell)\b",
        r"\bhoffe,? (?:das|dies|es)\b|\blassen sie (?:es )?mich wissen\b",
        r"\bkein (?:bild|foto)\b.{0,80}(?:bereitgestellt|angehängt|hochgeladen|übermittelt|liegt|"
        r"\bvor\b)|\bliegt (?:\w+ )?kein (?:bild|foto)\b",
    ),
    "French": (
        r"\bje ne (?:peux|suis|sais|vois)\b.{0,25}\b(?:décrire|aider|répondre|fournir|en mesure|"
        r"images?|photos?)\b|\bm'est impossible\b",
        r"\bje (?:suis|n'ai)\b.{0,25}\b(?:ia|modèle de|accès|informations)\b",
        r"\ben tant que? (?:modèle|grand modèle|ia|intelligence)\b|\ben tant qu'ia\b",
        r"\bn'hésitez pas\b|\bespère que (?:cela|ça|ces)\b|\bautres questions\b",
        r"\baucune (?:image|photo)\b.{0,80}(?:fournie|jointe|partagée|reçue)",
    ),
    "Spanish": (
        r"\bno puedo (?:\w+ )?(?:describir|ayudar\w*|proporcionar|responder|cumplir|hacer|"
        r"ver (?:im|fot|la im|la fot))",
        r"\b(?:soy|no tengo)\b.{0,20}\b(?:ia|modelo de|acceso|información)\b",
        r"\bcomo (?:un )?(?:modelo de lenguaje|una ia|ia|inteligencia artificial)\b",
        r"\bespero que (?:esto|te|le|estas)\b|\bnecesitas? algo más\b",
        r"\b(?:no se ha|ninguna (?:imagen|foto))\b.{0,80}(?:propor|adjunt)",
    ),
    "Chinese": (
        r"我(?:还)?(?:无法|不能|没有办法|没办法|看不到|看不见|不知道|不清楚)",
        r"我(?:是|没有|没).{0,8}(?:ai|人工智能|模型|助手|图片|图像|照片|信息)",
        r"作为(?:一个|一名|一款)?(?:ai|人工智能|(?:大型?)?语言模型)",
        r"希望.{0,12}帮助|随时(?:告诉|联系|提问)|没有(?:提供|上传|附).{0,6}(?:图|照)",
    ),
    "Japanese": (
        r"(?:ai|人工知能|言語モデル)(?:として|である|なので|ですので)",
        r"お(?:手伝い|役に立|答え)|ご質問|(?:画像|写真)(?:を|が)(?:提供|添付|アップロード|ありません)",
    ),
    "Thai": (
        r"(?:ฉัน|ผม|ดิฉัน)(?:จึง)?ไม่(?:สามารถ|รู้|ทราบ|เห็นภาพ)",
        r"ในฐานะ(?:ที่เป็น)?(?:โมเดล|แบบจำลอง|ai|ปัญญา)",
        r"หวังว่า.{0,80}(?:ประโยชน์|ช่วย)|(?:ให้|อะไร)ช่วย.{0,80}(?:ไหม|มั้ย)",
    ),
}
# Those that count at the start of a sentence only.
_AT_START = {
    "English": (
        r"(?:i(?:'m| am) )?(?:so |very |truly |really )?sorry(?=[,.!]| but\b| for\b| i\b)",
        r"(?:my |sincere )*apologies\b|i(?:'m| am) afraid\b|unfortunately,? (?:i|there (?:is|"
        r"are)|no)\b",
        r"(?:certainly|sure(?: thing)?|absolutely|yes|of course|definitely|okay|ok|great|"
        r"understood|got it|no problem|alright|gladly|you're welcome|enjoy|(?:great|good) question)"
        r"(?:[!.]|, of course|,? (?:here|i|below|let|these)\b|$)",
        rf"here(?:'s| (?:is|are)) (?:\w+ ){{0,3}}?(?:list|{_ONE_TEXT}|{_TEXTS})\b(?! card)|"
        rf"here you go\b",
        rf"(?:listed |find )?below\b.{{0,80}}\b(?:list|{_TEXTS})\b|end of (?:the )?list\b|"
        rf"that's (?:all|it)\b",
        r"(?:error|warning|disclaimer|remark|p\.?s\.?) ?:|request (?:declined|denied|refused)\b",
        r"(?:please |also )?(?:note|remember|keep in mind) that (?:these|the|this|all|i)\b.{0,80}\b"
        rf"{_TEXTS}\b|remember that\b",
        r"(?:please|kindly|could you|can you|would you|will you)(?: please)? (?:provide|clarify|"
        r"specify|"
        r"give|share|tell me|upload|explain|rephrase|send|attach|try again|be more|let me)\b",
        r"tell me more\b|is there (?:anything|something) (?:else|more|specific|i)\b|"
        rf"what kind of {_ONE_TEXT}\b",
        r"happy (?:to help|to assist|captioning)(?: you)?[.!]*$|glad (?:i could|to) help|"
        r"good luck with\b",
        r"(?:this|that|the) (?:term|request|prompt|question)\b(?! mark).{0,80}\b(?:unclear|"
        r"not clear|refers|"
        r"may|might|violat\w+|inappropriate|harmful|not something|asks)\b|this (?:content|"
        r"goes) (?:may|against)\b",
        r"we (?:need|have|should|must|are asked)\b.{0,80}\b(?:produce|write|give|provide|generate|"
        r"answer|output|list)\b",
        r"(?:(?:first|okay|ok|so|hmm|now|alright|well|wait),? )?(?:(?:i|we) (?:need|should|will|"
        r"must|have) (?:to )?(?:think|check|make|start|write|consider|vary|avoid)|let(?: me|'s|'s)"
        r" (?:think|see what|"
        r"write|start|describe|give|try|list|provide|check))\b|i(?:'ll| will) (?:keep|make|now)\b",
        r"i (?:tried|aimed|have tried) to\b|all (?:sentences|answers|captions)\b",
        r"(?:useful |key |main )?visual features include",
    ),
    "German": (
        r"(?:es )?tut mir (?:sehr )?leid\b|entschuldig",
        r"(?:gerne?|natürlich|sicher|klar|selbstverständlich)(?:!|, hier)|gern geschehen",
        r"hier (?:sind|ist|finden|kommen)\b.{0,80}(?:beschreibung|sätze|antwort|bildunterschrift)",
        r"bitte (?:geben|laden|stellen|senden|teilen|nennen) sie\b",
        r"(?:können|könnten|kannst|könntest) (?:sie|du) (?:mir|bitte)\b",
    ),
    "French": (
        r"(?:je suis |nous sommes )?(?:vraiment |sincèrement )?désolée?s?\b|"
        r"(?:toutes )?mes excuses",
        r"(?:bien sûr|certainement|avec plaisir|d'accord) ?!|(?:pouvez|pourriez)-vous\b|veuillez\b",
        r"voici\b.{0,80}\b(?:descriptions?|phrases?|réponses?|légendes?)\b",
    ),
    "Spanish": (
        r"lo (?:siento|lamento)(?:[,.]| pero)|¡?(?:claro|claro que sí|por supuesto|desde luego)!",
        r"aquí (?:tienes?|están|te|le)\b.{0,80}\b(?:descripciones|frases|respuestas|oraciones)\b",
        r"a continuación\b.{0,80}\b(?:descripciones|frases|respuestas|oraciones)\b",
        r"¿?(?:podrías?|puedes?) (?:dar|propor|aclar|espec|decir)",
        r"por favor,? (?:propor|sub|env|aclar|comparta|adjunt)",
    ),
    "Chinese": (
        r"(?:很|非常|十分)?(?:抱歉|对不起|遗憾)|(?:以下|下面)(?:是|为)(?:\S{0,2}个|\S{0,6}(?:句|描述|答案|回答))",
        r"(?:当然|好的|没问题)(?:可以)?(?:[!。]|,(?:以下|下面|这|我))|请问",
        r"(?:您|你)?(?:能否|能不能|能|可以|可否|是否)(?:请)?(?:提供|说明|告诉|补充).{0,80}\?",
        r"请(?:您|你)?(?:提供|上传|说明|告诉|补充)|没有(?:图|照)片?。?$",
    ),
    "Japanese": (
        r"(?:大変|誠に)?(?:申し訳|すみません|恐れ入り|ごめん)|以下(?:の通り|のとおり)",
        r"(?:以下|次)(?:は|に|が|の).{0,80}(?:文[をはで。]|文$|説明|回答|キャプション)",
        r"(?:もちろん|はい|承知|かしこまり|了解)(?:です|しました|いたしました)?[!、。,]",
    ),
    "Thai": (
        r"ขออภัย|ขอโทษ|เสียใจ|ต่อไปนี้(?:คือ|เป็น)|(?:แน่นอน|ได้เลย)(?:ค่ะ|ครับ)?[!,.]",
        r"(?:กรุณา|โปรด)(?:ให้|อัป|ระบุ|แนบ)|ไม่มี(?:ภาพ|รูป)$",
    ),
}


def _join(patterns: dict[str, tuple[str, ...]]) -> str:
    return "|".join(f"(?:{p})" for of_language in patterns.values() for p in of_language)


@cache  # compiling takes many milliseconds, which most commands need not spend
def _remark_pattern() -> re.Pattern[str]:
    # a short text that ends with a colon introduces answers: "Visual features:"
    start = r"(?:^|(?<=[.!?] ))"
    return re.compile(rf"{start}(?:{_join(_AT_START)})|{_join(_ANYWHERE)}|^.{{0,60}}:$")


_NO_ANSWER = re.compile(
    r"n\.?/?a|none|null|nil|undefined|unknown|tb[ad]|todo|not (?:applicable|available|specified)"
    r"|(?:left |intentionally )*blank|empty|xx+|placeholder(?: text)?|(?:see|as|same as) (?:above|"
    r"(?:the )?previous\b.*|before|(?:answer|sentence|number) \d+)|lorem ipsum\b.*"
    r"|(?:answer|sentence|description|caption|feature|example|text|item)[ _#]*\d+"
    r"|(?:(?:your|the|insert|enter|add|an?) )*(?:answer|sentence|description|caption|feature|text)"
    r"(?: goes| comes)? here|to be (?:filled|completed|determined|added|written)\b.*"
    r"|keine?(?: angaben?)?|nicht zutreffend|aucune?|néant|sans objet|ningun[oa]|no aplica"
    r"|无|没有|暂无|不适用|なし|該当なし|ไม่มี",
)
_SLOT = re.compile(r"\[\s*\w[\w /-]*\]")  # "A photo of a [colour] [object]"
# "A photo of a {}", "A photo of ____", "A photo of X.", "(insert caption)", "No answer available."
_GAP = re.compile(
    r"\{\w*\}|_{3,}|\bof (?:an? )?[xyz]\.?$"
    r"|<(?:object|colou?r|description|class|name|animal|item|subject|place|adjective|noun)[^<>]*>"
    r"|[(\[<{]\s*(?:insert|your|add|enter)\b|^no (?:\w+ )?(?:description|answer|caption|"
    r"feature)s?\b"
)
_ONLY_SLOT = re.compile(r"\[[^\[\]]*\]|<[^<>]*>|\{[^{}]*\}|【[^【】]*】")


def is_remark(text: str) -> bool:
    """Whether a text refuses to answer, talks about the task, or only introduces answers."""
    return bool(_remark_pattern().search(_normalize(text)))


def is_placeholder(text: str) -> bool:
    """Whether a text stands in the place of an answer: "N/A", "[insert description here]"."""
    text = _normalize(text)
    return bool(
        _NO_ANSWER.fullmatch(text.strip(" .!()-_*\"'"))
        or _ONLY_SLOT.fullmatch(text.strip(" ."))
        or _GAP.search(text)
        or len(_SLOT.findall(text)) > 1
    )


def _normalize(text: str) -> str:
    """Write a text in lower case, with full-width marks and curly apostrophes as ASCII's."""
    return unicodedata.normalize("NFKC", text).replace("\u2019", "'").lower().strip()
