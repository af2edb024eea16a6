"""What the page says, in each language."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Texts:
    """One language. Braces are filled in where a text is shown."""

    language: str  # its own name
    path: str  # of its page, below the server's address
    about: str
    demo_model: str
    video: str
    audio: str
    limits: str
    guidance: str
    guidance_info: str
    steps: str
    steps_info: str
    seed: str
    seed_info: str
    more: str
    model: str
    face: str
    face_info: str
    fps: str
    fps_info: str
    loop: str
    tail: str
    crf: str
    crf_info: str
    generate: str
    cancel: str
    examples: str
    still: str
    one_face: str
    several_faces: str
    face_missed: str
    no_face: str
    no_video: str
    no_audio: str
    sending: str
    queued: str
    frames_done: str
    time_left: str
    time_spent: str
    completed: str
    cancelled: str
    failed: str
    gone: str
    keep: str
    result: str
    compared: str
    report: str
    device: str
    frames: str
    no_face_in: str
    whole: str
    rest_kept: str
    busy: str
    seconds: str  # {0}
    minutes: str  # {1}, before the seconds
    loops: dict[str, str] = field(default_factory=dict)  # by the option's value, as the others
    tails: dict[str, str] = field(default_factory=dict)
    stages: dict[str, str] = field(default_factory=dict)
    works: dict[str, str] = field(default_factory=dict)  # by the report's names of what took time


ENGLISH = Texts(
    language="English",
    path="",
    about="Give it a video of a person and a sound, and the person's lips follow the sound.",
    demo_model="This is the small **demo model**, taught by drawn people alone: try it with the examples. For real "
    "faces the official weights are needed: `bash setup_env.sh` fetches them where there is a network.",
    video="Video",
    audio="Sound",
    limits="Up to {megabytes:g} MB and {length} each.",
    guidance="Guidance",
    guidance_info="More is in better sync and less steady; 1 is off.",
    steps="Steps",
    steps_info="More is better and slower.",
    seed="Seed",
    seed_info="The same seed makes the same video; -1 is random.",
    more="More options",
    model="Model",
    face="Whose lips",
    face_info="Click a face in the picture; or write largest, a number counted from the left (0 is the first), or x,y.",
    fps="Frames per second",
    fps_info="Of the result: a number, or source for the video's own.",
    loop="Where the sound is longer",
    tail="Where the video is longer",
    crf="Compression",
    crf_info="Less is better and a larger file.",
    generate="Generate",
    cancel="Cancel",
    examples="Examples",
    still="Whose lips will move",
    one_face="The face in the green frame will speak.",
    several_faces="The face in the green frame will speak; click another one to choose it.",
    face_missed="No face here answers this choice; where none does in the whole video, nothing can be made.",
    no_face="No face in the first {seconds:g} s. Parts without a face stay as they are.",
    no_video="Choose a video first.",
    no_audio="Choose a sound first.",
    sending="Looking at the files",
    queued="Waiting in the queue, number {position}",
    frames_done="{done} of {total} frames",
    time_left="about {time} left",
    time_spent="{time} so far",
    completed="Done in {time}.",
    cancelled="Cancelled.",
    failed="This did not work.",
    gone="This video is not here any more: videos are removed after {hours:g} hours. Make it again.",
    keep="The address of this page leads back to this video for {hours:g} hours.",
    result="Result",
    compared="Before and after",
    report="Report",
    device="Device",
    frames="Frames",
    no_face_in="Without a face, unchanged",
    whole="every frame had its face",
    rest_kept="{frames} more after the end of the sound",
    busy="Busy (stages overlap)",
    seconds="{0:g} s",
    minutes="{1} min",
    loops={
        "pingpong": "play it backwards and forwards",
        "loop": "start it again",
        "freeze": "hold the last frame",
        "cut": "end with the video",
    },
    tails={"cut": "end with the sound", "keep": "keep the rest, silent"},
    stages={"": "Preparing", "preparing": "Preparing", "lip sync": "Lip sync", "writing": "Writing the file"},
    works={
        "sound": "sound",
        "decode": "decoding",
        "decode and align": "decoding and faces",
        "networks": "networks",
        "paste": "putting faces back",
        "encode": "encoding",
    },
)

CHINESE = Texts(
    language="中文",
    path="zh",
    about="给一段人物视频和一段声音，人物的口型就会跟随声音。",
    demo_model="当前是小型**演示模型**，只用绘制的人物训练过，请用下面的示例试用。真人面部需要官方权重："
    "在有网络的地方运行 `bash setup_env.sh` 即可下载。",
    video="视频",
    audio="声音",
    limits="每个文件不超过 {megabytes:g} MB、{length}。",
    guidance="引导强度",
    guidance_info="越大口型越准，但稳定性降低；1 表示关闭。",
    steps="步数",
    steps_info="越多质量越好，也越慢。",
    seed="随机种子",
    seed_info="相同的种子得到相同的视频；-1 表示随机。",
    more="更多选项",
    model="模型",
    face="选择人脸",
    face_info="在图片中点击一张脸；或填写 largest（最大的脸）、从左数的序号（0 是第一张）或坐标 x,y。",
    fps="帧率",
    fps_info="结果视频的帧率：一个数字，或 source（与原视频相同）。",
    loop="声音比视频长时",
    tail="视频比声音长时",
    crf="压缩",
    crf_info="越小质量越高，文件越大。",
    generate="开始生成",
    cancel="取消",
    examples="示例",
    still="将会说话的人脸",
    one_face="绿框中的人脸将会说话。",
    several_faces="绿框中的人脸将会说话；点击其他人脸可以更换。",
    face_missed="图中没有符合该选择的人脸；如果整个视频中都没有，就无法生成。",
    no_face="前 {seconds:g} 秒内没有人脸。没有人脸的部分保持原样。",
    no_video="请先选择视频。",
    no_audio="请先选择声音。",
    sending="正在检查文件",
    queued="正在排队，第 {position} 位",
    frames_done="已完成 {done} / {total} 帧",
    time_left="大约还需 {time}",
    time_spent="已用 {time}",
    completed="完成，用时 {time}。",
    cancelled="已取消。",
    failed="没有成功。",
    gone="该视频已不存在：视频会在 {hours:g} 小时后删除。请重新生成。",
    keep="{hours:g} 小时内，用本页地址可以回到这个视频。",
    result="结果",
    compared="前后对比",
    report="报告",
    device="设备",
    frames="帧数",
    no_face_in="没有人脸、保持原样",
    whole="每一帧都有人脸",
    rest_kept="声音结束后还有 {frames} 帧",
    busy="各阶段用时（相互重叠）",
    seconds="{0:g} 秒",
    minutes="{1} 分",
    loops={"pingpong": "来回播放", "loop": "从头重播", "freeze": "停在最后一帧", "cut": "随视频结束"},
    tails={"cut": "随声音结束", "keep": "保留其余部分（静音）"},
    stages={"": "准备中", "preparing": "准备中", "lip sync": "生成口型", "writing": "写入文件"},
    works={
        "sound": "声音",
        "decode": "解码",
        "decode and align": "解码与人脸",
        "networks": "神经网络",
        "paste": "贴回人脸",
        "encode": "编码",
    },
)

LANGUAGES = (ENGLISH, CHINESE)
